"""Costs of a study and the arms at an equal cost, on invented points whose answers were computed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_points import estimates, even, invented_point, study_report

from eval.study.compare import Curve
from eval.study.cost import at_cost, equal_cost, path_cost
from eval.study.figures import figures
from eval.study.points import read_study

Json = dict[str, Any]
HELD_OUT = "cosine_held_out"


def point(arm: str, kind: str, score: float, tax: float, step: int, seconds: float, **tokens: int) -> Json:
    made = invented_point(arm, kind, even(score), even(tax), step=step)
    cost = {"prompts": 8 * step, "tokens": 0, "updates": step, "seconds": seconds, **tokens}
    return made | {"cost": cost}


def study() -> list[Json]:
    """GRPO after a warm start of 100 s: gain 0.1 after 60 s, 0.2 after 120 s. SFT: gain 0.15 after 40 s; it ends there."""
    samples = {"tokens": 1000, "sampled_tokens": 400, "scored_tokens": 600}
    return [
        point("untouched", "untouched", 0.1, 0.0, 0, 0.0),
        point("warm_start", "warm_start", 0.3, 0.01, 0, 100.0, tokens=5000),
        point("grpo", "grpo", 0.4, 0.02, 10, 60.0, **samples),
        point("grpo", "grpo", 0.5, 0.04, 20, 120.0, **{key: 2 * value for key, value in samples.items()}),
        point("sft", "sft", 0.45, 0.05, 20, 40.0, tokens=3000),
        point("then", "sft", 0.6, 0.06, 20, 10.0, tokens=500) | {"start": "grpo"},
    ]


def test_a_cost_is_that_of_the_whole_way_from_the_untouched_model(tmp_path: Path) -> None:
    checkpoints = estimates(tmp_path, study())
    costs = {(one.point.arm, one.point.step): path_cost(one, checkpoints) for one in checkpoints}
    found = {key: (cost["seconds"], cost["all_tokens"]) for key, cost in costs.items() if cost}
    assert found == {
        ("untouched", 0): (0, 0),
        ("warm_start", 0): (100, 5000),
        ("grpo", 10): (160, 7000),
        ("grpo", 20): (220, 9000),
        ("sft", 20): (140, 8000),
        ("then", 20): (230, 9500),
    }


def test_a_point_of_an_earlier_version_has_no_cost_where_it_sampled(tmp_path: Path) -> None:
    points = study()
    for one in points:
        one["cost"].pop("sampled_tokens", None)
    checkpoints = estimates(tmp_path, points)
    known = {one.point.arm for one in checkpoints if path_cost(one, checkpoints)}
    assert known == {"untouched", "warm_start", "sft"}
    rows = figures(read_study(tmp_path), HELD_OUT, 0.05, 50)
    assert rows["equal_cost"] == []


def test_gain_at_a_cost_lies_between_neighbours_and_is_never_extrapolated() -> None:
    line = Curve(np.array([[0.0], [0.1], [0.05], [0.2]]), np.array([[0.01], [0.02], [0.03], [0.04]]))
    costs = np.array([100.0, 160.0, 180.0, 220.0])
    found = [at_cost(line, costs, cost) for cost in (100, 130, 190, 500)]
    assert [gain[0] for gain, _ in found] == pytest.approx([0.0, 0.05, 0.15, 0.2])
    assert [tax[0] for _, tax in found] == pytest.approx([0.01, 0.015, 0.03, 0.04])


def test_arms_are_compared_at_the_largest_cost_that_both_reach(tmp_path: Path) -> None:
    """SFT ends after 140 s: GRPO has gained two thirds of 0.1 by then. By tokens at 8,000: 0.15 of GRPO, half way."""
    checkpoints = estimates(tmp_path, study())
    seconds = equal_cost(checkpoints, "grpo", ["sft"], HELD_OUT, "seconds")
    assert seconds is not None and (seconds["cost"], seconds["others"]) == (140, ["sft"])
    assert seconds["main_gain"]["value"] == pytest.approx(0.2 / 3)
    assert seconds["gain_difference"]["value"] == pytest.approx(0.2 / 3 - 0.15)
    assert seconds["tax_difference"]["value"] == pytest.approx(0.01 + 0.01 * 2 / 3 - 0.05)
    tokens = equal_cost(checkpoints, "grpo", ["sft"], HELD_OUT, "all_tokens")
    assert tokens is not None and tokens["cost"] == 8000
    assert tokens["gain_difference"]["value"] == pytest.approx(0.0)


def test_the_report_says_what_the_costs_say(tmp_path: Path) -> None:
    page, text, _ = study_report(tmp_path, study()[:-1])
    assert "With as many seconds (140, from the untouched model on) GRPO gains +0.067" in text
    assert "GRPO gains less than SFT (difference \u22120.083" in text
    assert "against seconds</figcaption>" in page
    assert "| 220 | 9,000 |" in text.replace(" \\*", "")
