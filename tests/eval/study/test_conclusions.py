"""A study's conclusions turn with its numbers: every sentence is read for two studies that differ in what it
is about.
"""

from pathlib import Path
from typing import Any

import pytest
from invented_points import even, invented_point, invented_study, spread_out, write_points

from eval.study.figures import figures
from eval.study.points import read_study
from eval.study.sentences import conclusions, is_clear, transfer_sentences, warning_sentences

Json = dict[str, Any]


def conclusion_text(study: Path, points: list[Json], budget: float = 0.05) -> str:
    return " ".join(
        conclusions(figures(read_study(write_points(study, points)), "cosine_held_out", budget, 100))
    )


def replace_last(points: list[Json], arm: str, score: list[float], tax: list[float]) -> list[Json]:
    """The points with another last checkpoint of one arm."""
    old = [point for point in points if point["arm"] == arm][-1]
    new = invented_point(arm, old["kind"], score, tax, step=old["step"], settings=old["settings"])
    return [new if point is old else point for point in points]


def test_who_pays_less_follows_the_taxes(tmp_path: Path) -> None:
    less = conclusion_text(tmp_path / "a", invented_study(grpo_tax=0.02, sft_tax=0.06))
    more = conclusion_text(tmp_path / "b", invented_study(grpo_tax=0.06, sft_tax=0.02))
    sentence = (
        "At an equal held-out cosine (+0.200 over the warm start) the tax of GRPO is {} nats per token, "
        "that of the best SFT (sft_high) {}: {}"
    )
    assert sentence.format("0.0200 ± 0.0000", "0.0433 ± 0.0000", "GRPO pays less than SFT") in less
    assert sentence.format("0.0600 ± 0.0000", "0.0167 ± 0.0000", "GRPO pays more than SFT") in more
    assert "pays more than SFT" not in less and "pays less than SFT" not in more


def test_an_interval_that_includes_0_is_no_clear_difference(tmp_path: Path) -> None:
    # 0.01 more than GRPO, half of the texts far less
    noisy = replace_last(invented_study(), "sft_high", even(0.5), spread_out(0.03, 0.4))
    assert "(sft_high) 0.0300 ± " in conclusion_text(tmp_path, noisy)
    assert ": no clear difference (difference −0.0100" in conclusion_text(tmp_path / "again", noisy)


def test_gain_and_cost_of_the_main_arm_are_read_from_their_intervals(tmp_path: Path) -> None:
    up = conclusion_text(tmp_path / "up", invented_study())
    assert "raised the warm start's held-out cosine (+0.200" in up
    assert "together cost general competence (tax +0.0200" in up
    assert "GRPO added to the tax of the warm start (+0.0100" in up
    down = conclusion_text(tmp_path / "down", replace_last(invented_study(), "grpo", even(0.2), even(-0.01)))
    assert "lowered the warm start's held-out cosine (−0.100" in down
    assert (
        "together lowered the loss on general text (tax −0.0100" in down
        and "GRPO lowered the tax of the warm start (−0.0200" in down
    )
    unclear = conclusion_text(
        tmp_path / "unclear",
        replace_last(invented_study(), "grpo", spread_out(0.31, 0.3), spread_out(0.001, 0.1)),
    )
    assert "made no clear difference to the warm start's" in unclear
    assert (
        "together cost no clear amount of general competence" in unclear
        and "GRPO made no clear difference to the tax of the warm start" in unclear
    )


def test_a_control_that_gains_as_much_is_not_hidden(tmp_path: Path) -> None:
    assert "held-out cosine against GRPO: noise lower (−0.200)" in conclusion_text(
        tmp_path / "a", invented_study()
    )
    better = replace_last(invented_study(), "noise", even(0.7), even(0.04))
    assert "held-out cosine against GRPO: noise higher (+0.200)" in conclusion_text(tmp_path / "b", better)


def test_a_broken_budget_is_said_to_be_broken(tmp_path: Path) -> None:
    assert (
        "Budget of 0.02 nats per token over the warm start, arm held: kept in seed 0 (+0.0050"
        in conclusion_text(tmp_path / "a", invented_study())
    )
    costly_points = replace_last(invented_study(), "held", even(0.4), even(0.05))
    assert "arm held: exceeded in seed 0 (+0.0400" in conclusion_text(tmp_path / "b", costly_points)


def test_the_checkpoint_to_ship_follows_the_budget(tmp_path: Path) -> None:
    assert "ship grpo, seed 0, step 20: held-out cosine 0.500" in conclusion_text(
        tmp_path / "a", invented_study(), 0.05
    )
    assert "ship sft_high, seed 0, step 20: held-out cosine 0.600" in conclusion_text(
        tmp_path / "b", invented_study(), 0.061
    )
    assert "ship warm_start, seed 0, step 0: held-out cosine 0.300, tax" in conclusion_text(
        tmp_path / "c", invented_study(), 0.0101
    )
    costly = [point for point in invented_study() if point["kind"] != "untouched"]
    assert "no evaluated checkpoint can be shipped" in conclusion_text(tmp_path / "d", costly, 0.005)


def test_one_seed_is_said_to_be_one_seed(tmp_path: Path) -> None:
    assert "one seed (0), so no interval covers repeated training" in conclusion_text(
        tmp_path / "a", invented_study((0,))
    )
    three = conclusion_text(tmp_path / "b", invented_study((0, 1, 2)))
    assert (
        "12 test items, 12 general texts (120 tokens), 3 seeds (0, 1, 2)" in three and "one seed" not in three
    )
    # 0.020, 0.021, 0.022: sd 0.001, 4.30265 * 0.001 / sqrt(3)
    assert "the tax of GRPO is 0.0210 ± 0.0025 nats" in three


def test_few_items_and_few_seeds_are_a_warning_in_front() -> None:
    few = {"seeds": [0, 1], "n": 29, "texts": 48}
    assert warning_sentences(few) == [
        "Too few for a verdict: 29 test items. Below 30 the intervals over them are too narrow, "
        "so what is called clear below may be chance."
    ]
    assert warning_sentences(few | {"n": 30}) == []
    assert "30 test items" not in warning_sentences(few | {"n": 30, "texts": 12})[0]
    assert warning_sentences(few | {"seeds": [0, 1, 2]}) == []  # the interval is over seeds


def test_transfer_is_told_from_the_main_arms_side() -> None:
    change = {"value": 0.1, "low": 0.05, "high": 0.2}
    pair = {"examples": 50, "changes": {"cosine_held_out": change}}
    pairs = [pair | {"first": "grpo", "second": "sft"}, pair | {"first": "untouched", "second": "grpo"}]
    figures = {"target": "cosine_held_out", "main": "grpo", "transfer": {"pairs": pairs}}
    assert transfer_sentences(figures) == [
        "Fine-tuned on another task, GRPO's model is, by held-out cosine, "
        "with 50 examples worse than sft (\u22120.100, 95 % interval \u22120.200 to \u22120.050); "
        "with 50 examples better than untouched (+0.100, 95 % interval +0.050 to +0.200)."
    ]


COMPARISON = "At an equal"
MAIN = "(arm grpo, step 20) raised the warm start's"


@pytest.mark.parametrize(
    ("without", "has_comparison", "main"),
    [
        ((), True, True),
        (("grpo", "no_kl", "noise", "held"), False, False),
        (("sft_low", "sft_high", "self"), False, True),
        (("warm_start",), False, False),
    ],
)
def test_what_is_missing_is_left_out_and_nothing_is_invented(
    tmp_path: Path, without: tuple[str, ...], has_comparison: bool, main: bool
) -> None:
    text = conclusion_text(tmp_path, [point for point in invented_study() if point["arm"] not in without])
    assert (COMPARISON in text, MAIN in text) == (has_comparison, main)
    assert ("No verdict on GRPO: no GRPO arm was evaluated." in text) == ("grpo" in without)


def test_a_probe_is_clear_only_where_every_seed_says_the_same() -> None:
    down, up, unclear = (
        {"difference": value, "p_value": p} for value, p in ((-0.1, 0.01), (0.1, 0.01), (-0.1, 0.2))
    )
    assert (
        is_clear([down, down])
        and not is_clear([down, up])
        and not is_clear([down, unclear])
        and not is_clear([unclear])
    )
    assert is_clear([{"difference": 0.1, "low": 0.05, "high": 0.2}]) and not is_clear(
        [{"difference": 0.1, "low": -0.05, "high": 0.2}]
    )
