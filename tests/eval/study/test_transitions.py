"""Transition rates of a study on invented points."""

from pathlib import Path

import pytest
from invented_points import even, invented_point, study_report

from eval.study.transitions import mean_share


def test_rates_are_counted_from_the_untouched_model_and_from_the_warm_start(tmp_path: Path) -> None:
    """Of 20 questions the untouched model answers the first 18 rightly, the warm start 16, GRPO 9."""
    points = [
        invented_point("untouched", "untouched", even(0.1), even(0.0), right=18),
        invented_point("warm_start", "warm_start", even(0.3), even(0.01), right=16),
        invented_point("grpo", "grpo", even(0.5), even(0.02), step=20, right=9),
    ]
    _, plain, summary = study_report(tmp_path, points)
    rows = {row["arm"]: row for row in summary["checkpoints"]}
    grpo = {before: rates["capitals_accuracy"] for before, rates in rows["grpo"]["transitions"].items()}
    assert grpo["untouched"]["lost_share"]["value"] == 0.5 and grpo["untouched"]["lost_share"]["n"] == 18
    assert grpo["warm_start"]["lost_share"]["value"] == pytest.approx(7 / 16)
    assert grpo["warm_start"]["gained_share"]["value"] == 0 and grpo["warm_start"]["gained_share"]["n"] == 4
    assert grpo["untouched"]["p_values"] == [pytest.approx(2 / 2**9)]
    assert rows["warm_start"]["transitions"]["untouched"]["capitals_accuracy"]["lost_share"][
        "value"
    ] == pytest.approx(2 / 18, abs=1e-6)
    assert "50.0 % (29.0 % to 71.0 %)" in plain


def test_a_rate_over_seeds_is_a_mean_whose_interval_counts_no_question_twice() -> None:
    one = {"value": 0.2, "low": 0.1, "high": 0.4, "n": 10}
    two = {"value": 0.4, "low": 0.1, "high": 0.7, "n": 10}
    both = mean_share([one, two])
    assert (both["value"], both["n"]) == (pytest.approx(0.3), 10)
    assert (both["low"], both["high"]) == pytest.approx((0.10779, 0.60324), abs=2e-5)  # Wilson, 3 of 10
    three = mean_share([one, two, {**one, "value": 0.3}])
    half = 4.30265 * 0.1 / 3**0.5  # Student's t with 2 degrees of freedom, standard deviation 0.1
    assert (three["low"], three["high"]) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-5)
    assert mean_share([one, {**two, "value": None}])["value"] == 0.2
