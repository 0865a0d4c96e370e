"""The claim's test, by hand-computed values."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_points import even, invented_point, study_report

from eval.study.claim import drawn_interval, halves, verdict
from eval.study.compare import Curve
from eval.study.pareto import gain_at

Json = dict[str, Any]


def line(*pairs: tuple[float, float]) -> Curve:
    """A curve of (gain, tax), with one resample that says the same."""
    gains, taxes = zip(*pairs, strict=True)
    return Curve(np.array([gains, gains]).T, np.array([taxes, taxes]).T)


def test_both_halves_by_hand() -> None:
    """SFT: gain 0.2 for tax 0.10. The arm: 0.1 for 0.02 and 0.3 for 0.06, so 0.2 for 0.04, and 0.3 for 0.10."""
    own = line((0.0, 0.01), (0.1, 0.02), (0.3, 0.06))
    parts = halves(own, line((0.0, 0.01), (0.2, 0.10), (0.15, 0.2)))
    assert parts["own_tax"] == pytest.approx([0.04, 0.04])
    assert parts["half"] == pytest.approx([-0.01, -0.01])
    assert parts["own_gain"] == pytest.approx([0.3, 0.3]) and parts["gain"] == pytest.approx([0.1, 0.1])


def test_a_score_out_of_reach_costs_without_end_and_a_tax_below_all_buys_nothing() -> None:
    parts = halves(line((0.0, 0.01), (0.1, 0.02)), line((0.0, 0.01), (0.2, 0.10)))
    assert parts["half"].tolist() == [math.inf, math.inf]
    assert gain_at(np.array([0.1]), np.array([0.5]), 0.4) == -math.inf


def test_where_sft_lowers_the_loss_elsewhere_half_of_it_is_not_enough() -> None:
    """Past bug: against a tax of -0.10 one of -0.06 counted as less than half, and the claim was confirmed."""
    parts = halves(line((0.0, -0.01), (0.2, -0.06)), line((0.0, -0.01), (0.2, -0.10)))
    assert parts["half"] == pytest.approx([0.04, 0.04])


def test_the_interval_is_over_seeds_and_items() -> None:
    """Two seeds, three resamples: the first draws both, the second seed 0 twice, the third seed 1 twice."""
    part = np.array([[1.0, 1.0, 2.0, 9.0], [3.0, 5.0, 9.0, 4.0]])
    draws = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    figure = drawn_interval(part, draws)
    assert figure == {"value": 2.0, "low": 2.0, "high": 4.0, "per_seed": [1.0, 3.0]}  # of 3, 2 and 4
    part[1, 1:] = math.inf
    assert drawn_interval(part, draws) == {"value": 2.0, "low": 2.0, "high": None, "per_seed": [1.0, 3.0]}


def test_one_half_is_enough_and_both_must_fail() -> None:
    words = ("confirmed", "refuted", "not clear")
    table = {(half, gain): verdict({"half": half, "gain": gain}) for half in words for gain in words}
    assert {pair for pair, found in table.items() if found == "confirmed"} == {
        pair for pair in table if "confirmed" in pair
    }
    assert [pair for pair, found in table.items() if found == "refuted"] == [("refuted", "refuted")]


def study(own: tuple[float, float], sft: tuple[float, float]) -> list[Json]:
    """Three seeds: warm start, the arm, and two SFT arms of which `sft` is the better; one more from elsewhere."""
    points = [invented_point("untouched", "untouched", even(0.1), even(0.0))]
    for seed in (0, 1, 2):
        for arm, kind, (score, tax) in (
            ("warm_start", "warm_start", (0.3, 0.01)), ("own", "grpo", own), ("sft_a", "sft", sft), ("sft_b", "sft", (0.31, 0.3)),
        ):  # fmt: skip
            step = 0 if kind == "warm_start" else 20
            points.append(invented_point(arm, kind, even(score), even(tax), seed=seed, step=step))
        other = invented_point("elsewhere", "sft", even(0.9), even(0.01), seed=seed, step=20)
        points.append(other | {"start": "untouched"})
    return points


@pytest.mark.parametrize(
    "own, sft, expected",
    [
        ((0.5, 0.04), (0.5, 0.10), "confirmed"),  # the same score for 0.04 of 0.10
        ((0.4, 0.02), (0.5, 0.10), "refuted"),  # never reaches the score, and gains less for as much
        ((0.5, 0.20), (0.4, 0.02), "refuted"),  # half way at 0.105
        ((0.5, 0.09), (0.4, 0.09), "confirmed"),  # at tax 0.09 it gains 0.2, SFT 0.1
    ],
)
def test_the_report_gives_the_verdict(
    own: tuple[float, float], sft: tuple[float, float], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "study.json").write_text('{"recommended": "own"}', encoding="utf-8")
    _, plain, summary = study_report(tmp_path, study(own, sft))
    claim = summary["claim"]
    assert (claim["sft"], claim["sft_arms"], claim["verdict"]) == ("sft_a", ["sft_a", "sft_b"], expected)
    assert f"The claim is {expected}: at the held-out cosine of the best SFT run (sft" in plain


def test_what_cannot_be_compared_is_said_in_words(tmp_path: Path) -> None:
    """Past bug: the sentence had three dashes in place of its numbers."""
    (tmp_path / "study.json").write_text('{"recommended": "own"}', encoding="utf-8")
    own = "(refuted; in seeds 0, 1 and 2 it does not reach that score)"
    assert own in study_report(tmp_path, study((0.4, 0.02), (0.5, 0.10)))[1]
    points = [one | {"seed": 4} if one["seed"] else one for one in study((0.5, 0.2), (0.4, 0.005))]
    lower = [one for one in points if one["seed"] == 0 or one["arm"] not in ("own", "sft_a", "sft_b")]
    plain = study_report(tmp_path, lower)[1]
    assert "gains more at an equal tax (refuted; in seed 0 each of its taxes is higher)" in plain


def test_of_several_seeds_the_first_screen_says_whose_score_is_the_best(tmp_path: Path) -> None:
    """Past bug: "it has the best score" stood before the mean of all seeds, which another row may surpass."""
    plain = study_report(tmp_path, study((0.5, 0.04), (0.45, 0.04)))[1]
    best = "Ship elsewhere, step 20 (seed 0): 0.900 is the highest held-out cosine of a single run with a tax whose interval ends"
    assert best in plain and "Arm elsewhere at step 20, over 3 seeds, gains +0.600 (" in plain


def test_without_a_recommended_arm_there_is_no_claim(tmp_path: Path) -> None:
    assert "The claim" not in study_report(tmp_path, study((0.5, 0.04), (0.5, 0.1)))[1]
