"""What a study compares, on invented points whose right answers were computed by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_points import estimates, even, invented_point, invented_study, spread_out, write_points

from data.errors import InputError
from eval.metrics.significance import mcnemar
from eval.study.compare import budget_verdict, budgets, curves, equal_target, ship
from eval.study.estimates import interval, student_t
from eval.study.figures import figures
from eval.study.points import Point, read_study
from eval.study.roles import differing_settings, main_arm, role
from eval.study.verdict import answer, numbers

Json = dict[str, Any]
HELD_OUT = "cosine_held_out"


def warm(score: float = 0.3, tax: float = 0.01, seed: int = 0) -> Json:
    return invented_point("warm_start", "warm_start", even(score), even(tax), seed=seed)


def arm(name: str, kind: str, *steps: tuple[float, float], seed: int = 0, **more: Any) -> list[Json]:
    """An arm with these (score, tax) at steps 10, 20, ..."""
    last = 10 * len(steps)
    return [
        invented_point(
            name, kind, even(score), even(tax), seed=seed, step=10 * number, num_steps=last, **more
        )
        for number, (score, tax) in enumerate(steps, 1)
    ]


def test_a_curve_begins_where_the_arm_did_and_its_gains_are_counted_from_the_warm_start(
    tmp_path: Path,
) -> None:
    untouched_point = invented_point("untouched", "untouched", even(0.1), even(0.0))
    only = [point | {"start": "untouched"} for point in arm("only", "sft", (0.3, 0.04), (0.5, 0.08))]
    then = [point | {"start": "only"} for point in arm("then", "grpo", (0.6, 0.09))]
    checkpoints = estimates(
        tmp_path,
        [untouched_point, warm(0.3, 0.01), *arm("sft", "sft", (0.5, 0.05)), *only, *then],
        resamples=20,
    )
    lines = {name: seeds[0] for name, seeds in curves(checkpoints, HELD_OUT).items()}
    assert lines["only"].gains[:, 0] == pytest.approx([-0.2, 0.0, 0.2])
    assert lines["only"].taxes[:, 0] == pytest.approx([0.0, 0.04, 0.08])
    assert lines["then"].gains[:, 0] == pytest.approx([0.2, 0.3]) and lines["then"].taxes[
        :, 0
    ] == pytest.approx([0.08, 0.09])
    assert lines["sft"].gains[:, 0] == pytest.approx([0.0, 0.2]) and lines["sft"].taxes[
        :, 0
    ] == pytest.approx([0.01, 0.05])


def test_tax_is_nats_per_token_over_all_texts(tmp_path: Path) -> None:
    point = invented_point("a", "grpo", even(0.5), [0.0, 0.3], step=1)
    point["tax"]["drift"]["general"]["items"][1]["tokens"] = (
        30  # 0.3 nats per token of ten tokens = 3 nats, over 40 tokens
    )
    (checkpoint,) = estimates(tmp_path, [point])
    assert checkpoint.tax[0] == pytest.approx(3 / 40)
    # both, the first twice, the second twice
    assert set(np.round(checkpoint.tax[1:], 6)) == {0.0, round(3 / 40, 6), 0.1}


def test_resamples_are_shared_so_that_a_constant_change_has_no_width(tmp_path: Path) -> None:
    points = [
        invented_point(
            "a", "grpo", spread_out(0.4 + 0.1 * (step > 1), 0.2), spread_out(0.1 * step, 0.05), step=step
        )
        for step in (1, 2)
    ]
    before, after = estimates(tmp_path, points)
    alone = interval([after.metrics[HELD_OUT]])
    change = interval([after.metrics[HELD_OUT] - before.metrics[HELD_OUT]])
    assert alone["high"] - alone["low"] > 0.1
    assert (change["low"], change["high"]) == pytest.approx((0.1, 0.1))
    assert interval([after.tax - before.tax])["low"] == pytest.approx(0.1)


def test_interval_is_over_items_up_to_two_seeds_and_students_t_from_three() -> None:
    draws = np.linspace(0, 1, 1001)
    one, two, last = (np.append(value, draws + value - 0.5) for value in (0.5, 0.7, 0.9))
    assert interval([one, two])["low"] == pytest.approx(0.125)  # the mean of both draws at 2.5 %
    three = interval([one, two, last])
    assert three["value"] == pytest.approx(0.7)
    assert three["high"] - three["value"] == pytest.approx(4.30265 * 0.2 / math.sqrt(3))  # sd 0.2, t(2)
    assert student_t(120) == pytest.approx(1.97993, abs=1e-4)


def test_tax_at_an_equal_score_is_interpolated_from_the_warm_start_and_the_best_rival_is_taken(
    tmp_path: Path,
) -> None:
    grpo = arm("grpo", "grpo", (0.4, 0.02), (0.5, 0.04))  # gains 0.1, 0.2
    low = arm("low", "sft", (0.6, 0.10))  # gain 0.3; at 0.2: 0.01 + 2/3 * 0.09 = 0.07
    high = arm("high", "sft", (0.55, 0.06))  # gain 0.25; at 0.2: 0.01 + 0.8 * 0.05 = 0.05
    result = equal_target(
        estimates(tmp_path, [warm(), *grpo, *low, *high]), "grpo", ["low", "high"], HELD_OUT
    )
    assert result is not None
    assert (result["others"], result["gain"]["value"]) == (["high"], pytest.approx(0.2))
    assert result["main_tax"]["value"] == pytest.approx(0.04)
    assert result["other_tax"]["value"] == pytest.approx(0.05)
    assert result["main_minus_other"]["high"] == pytest.approx(-0.01)


def test_the_common_score_is_the_smaller_reach_whichever_side_has_it(tmp_path: Path) -> None:
    checkpoints = estimates(
        tmp_path, [warm(), *arm("grpo", "grpo", (0.5, 0.05)), *arm("sft", "sft", (0.4, 0.02))]
    )
    result = equal_target(checkpoints, "grpo", ["sft"], HELD_OUT)
    assert result is not None and result["gain"]["value"] == pytest.approx(0.1)
    assert result["main_tax"]["value"] == pytest.approx(0.03)  # halfway from (0, 0.01) to (0.2, 0.05)


def test_an_arm_that_never_rose_has_no_common_score(tmp_path: Path) -> None:
    checkpoints = estimates(
        tmp_path, [warm(), *arm("grpo", "grpo", (0.25, 0.05)), *arm("sft", "sft", (0.4, 0.02))]
    )
    assert equal_target(checkpoints, "grpo", ["sft"], HELD_OUT) == {
        "metric": HELD_OUT,
        "main": "grpo",
        "seeds": [],
        "no_common_score": [0],
    }
    assert equal_target(checkpoints, "grpo", ["absent"], HELD_OUT) is None


def test_ship_takes_the_highest_target_whose_upper_tax_is_exactly_within_the_budget(tmp_path: Path) -> None:
    # mean below the budget, upper end above
    risky = invented_point("risky", "sft", even(0.9), spread_out(0.03, 0.06), step=20)
    checkpoints = estimates(tmp_path, [warm(), *arm("grpo", "grpo", (0.4, 0.02), (0.5, 0.04)), risky])
    limit = interval(
        [next(one for one in checkpoints if one.point.step == 20 and one.point.arm == "grpo").tax]
    )["high"]
    assert (
        interval([checkpoints[-1].tax])["value"]
        < limit
        < interval([next(one for one in checkpoints if one.point.arm == "risky").tax])["high"]
    )
    at_edge = ship(checkpoints, HELD_OUT, limit, tmp_path)
    below = ship(checkpoints, HELD_OUT, math.nextafter(limit, 0), tmp_path)
    assert at_edge is not None and (at_edge["arm"], at_edge["step"], at_edge["path"]) == (
        "grpo",
        20,
        "arms/grpo/seed0/policy",
    )
    assert below is not None and (below["arm"], below["step"], below["path"]) == (
        "grpo",
        10,
        "arms/grpo/seed0/snapshots/step-000010",
    )
    assert ship(checkpoints, HELD_OUT, 0.001, tmp_path) is None
    (tmp_path / "arms/grpo/seed0/policy").mkdir(parents=True)
    again = ship(checkpoints, HELD_OUT, limit, tmp_path)
    assert (at_edge["kept"], again and again["kept"]) == (False, True)


def test_a_budget_is_kept_where_the_whole_interval_says_so() -> None:
    cases = {
        (0.01, 0.02): "yes",
        (0.021, 0.03): "no",
        (0.01, 0.025): "probably",
        (0.015, 0.035): "probably not",
    }
    for (low, high), kept in cases.items():
        assert budget_verdict({"low": low, "high": high, "value": (low + high) / 2}, 0.02) == kept


def test_a_budget_is_measured_against_what_it_was_set_against(tmp_path: Path) -> None:
    own = arm("own", "grpo", (0.4, 0.025), settings=["tax.budget=0.02"])
    total = arm("total", "sft", (0.4, 0.025), settings=["tax.budget=0.02", 'tax.against="untouched"'])
    rows = {row["arm"]: row for row in budgets(estimates(tmp_path, [warm(), *own, *total]))}
    assert (rows["own"]["final"]["value"], rows["own"]["kept"]) == (pytest.approx(0.015), "yes")
    assert (rows["total"]["final"]["value"], rows["total"]["kept"]) == (pytest.approx(0.025), "no")


def point_of(name: str, *settings: str, kind: str = "grpo") -> Point:
    document = invented_point(name, kind, even(0.5, 2), even(0.0, 2), settings=settings)
    return Point(path=Path("p"), **{**document, "settings": tuple(settings)})


def test_roles_follow_from_settings_not_from_names() -> None:
    main = point_of("grpo", "model.x=1")
    common = "model.x=1"
    arms = {
        "ablation": point_of("random", common, "loss.kl_coef=0.0", "seed=3"),
        "control": point_of("a", common, 'reward.control="shuffled"'),
        "budget": point_of("b", common, "tax.budget=0.05"),
        "main": main,
        "start": replace(point_of("e", common), start="c"),
        "sft": point_of("c", common, kind="sft"),
    }
    assert {name: role(point, main) for name, point in arms.items()} == {name: name for name in arms}
    assert differing_settings(arms["ablation"], main) == ("loss.kl_coef=0.0",)
    assert differing_settings(point_of("d"), main) == ("model.x=(default)",)
    assert differing_settings(arms["start"], main) == ("start=c",)
    assert main_arm([arms["control"], arms["ablation"]]) == "random"
    assert main_arm([arms["ablation"], main]) == "grpo"
    assert main_arm([arms["sft"]]) is None


def test_mcnemar_compares_each_checkpoint_with_the_untouched_model(tmp_path: Path) -> None:
    points = [
        invented_point("untouched", "untouched", even(0.1), even(0.0), right=18), warm(),
        *arm("grpo", "grpo", (0.5, 0.02), right=9),
    ]  # fmt: skip
    rows = figures(read_study(write_points(tmp_path, points)), HELD_OUT, 0.05, 50)["checkpoints"]
    (change,) = next(row for row in rows if row["arm"] == "grpo")["probes"]["capitals_accuracy"]
    assert (change["gained"], change["lost"]) == (0, 9)
    assert change["p_value"] == pytest.approx(2 / 2**9) == mcnemar([True] * 9, [False] * 9).p_value
    assert change["difference"] == pytest.approx(-0.45)


def test_areas_are_staircases_up_to_the_largest_tax_and_up_to_the_budget(tmp_path: Path) -> None:
    rows = {
        row["name"]: row
        for row in figures(read_study(write_points(tmp_path, invented_study())), HELD_OUT, 0.05, 50)["areas"]
    }
    assert rows["grpo"]["area"]["value"] == pytest.approx(0.1 * (0.9 - 0.015) + 0.1 * (0.9 - 0.02))
    assert rows["grpo"]["area_in_budget"]["value"] == pytest.approx(
        0.1 * (0.05 - 0.015) + 0.1 * (0.05 - 0.02)
    )
    assert rows["all sft arms"]["area"]["value"] == pytest.approx(0.3 * (0.9 - 0.06))
    assert rows["all sft arms"]["area_in_budget"]["value"] == 0.0
    assert rows["all sft arms"]["area_in_budget_minus_first"]["value"] == pytest.approx(-0.0065)


def test_a_target_that_no_item_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="target = 'meteor'"):
        figures(read_study(write_points(tmp_path, [warm()])), "meteor", 0.05, 50)


def test_an_ablation_of_a_seed_without_the_main_arm_is_still_an_ablation(tmp_path: Path) -> None:
    other = arm("no_kl", "grpo", (0.5, 0.02), seed=1, settings=["loss.kl_coef=0"])
    points = [warm(), *arm("grpo", "grpo", (0.5, 0.02)), warm(seed=1), *other]
    rows = figures(read_study(write_points(tmp_path, points)), HELD_OUT, 0.05, 50)["checkpoints"]
    assert {row["arm"]: row["role"] for row in rows} == {
        "warm_start": "warm_start",
        "grpo": "main",
        "no_kl": "ablation",
    }
    assert next(row for row in rows if row["arm"] == "no_kl")["minus_main"] is None


def test_an_interpolated_model_has_no_weights_of_its_own_and_no_budget(tmp_path: Path) -> None:
    between = invented_point(
        "own+interp",
        "interpolated",
        even(0.6),
        even(0.02),
        step=50,
        num_steps=100,
        settings=["tax.budget=0.02"],
    )
    checkpoints = estimates(tmp_path, [warm(), between])
    best = ship(checkpoints, HELD_OUT, 0.05, tmp_path)
    assert best is not None and (best["arm"], best["path"], best["kept"]) == ("own+interp", None, False)
    assert budgets(checkpoints) == []


def test_the_first_screen_counts_from_the_warm_starts_of_the_arms_own_seeds(tmp_path: Path) -> None:
    """Past bug: an arm of one seed stood behind the mean of all warm starts, so the two numbers were not its gain."""
    points = [warm(0.3), warm(0.1, seed=1), *arm("grpo", "grpo", (0.5, 0.02), seed=1)]
    cards = numbers(figures(read_study(write_points(tmp_path, points)), HELD_OUT, 0.05, 50))
    assert (cards[0].change, cards[0].values) == ("+0.400", "0.100 \u2192 0.500")


@pytest.mark.parametrize(
    ("tax", "start"), [(0.04, "Keep the warm start: "), (0.3, "Ship arm, step 10 (seed 0): it ")]
)
def test_a_warm_start_beyond_the_budget_is_not_kept(tmp_path: Path, tax: float, start: str) -> None:
    """Past bug: the first sentence named the warm start, whose tax was above the budget."""
    own, first = [0.5] * 30, [0.02] * 30
    points = [
        invented_point("warm_start", "warm_start", own, [tax] * 30),
        invented_point("arm", "recovery", [0.5] * 29 + [0.4], first, step=10),
    ]
    found = answer(figures(read_study(write_points(tmp_path, points)), HELD_OUT, 0.05, 50))
    assert found.text.startswith(start) and found.tone == "caution", found
