"""The main table of a study: the groups of the arms, the best of each, and gains and tax at an equal cost, by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from invented_points import even, invented_point, write_points

from eval.study.main_table import GROUPS
from eval.study.report import write_study_report

Json = dict[str, Any]
ARMS = {  # name: (kind, settings, (score, tax, seconds))
    "grpo": ("grpo", ["anchor.train=1.0"], (0.5, 0.04, 100.0)),
    "grpo_lr": ("grpo", ["anchor.train=1.0", "train.optim.lr=1e-6"], (0.4, 0.02, 100.0)),
    "guide": ("grpo", ["anchor.train=1.0", "guide.mode=term"], (0.6, 0.06, 200.0)),
    "behind": ("grpo", ["anchor.train=1.0"], (0.55, 0.05, 100.0)),
    "random": ("grpo", ["anchor.train=1.0", "reward.control=random"], (0.3, 0.01, 100.0)),
    "sft": ("sft", ["anchor.train=1.0"], (0.45, 0.1, 50.0)),
    "sft_free": ("sft", ["anchor.train=0.0"], (0.7, 0.8, 400.0)),
    "shield": ("sft", ["anchor.train=1.0", "protection.train=shield"], (0.42, 0.03, 50.0)),
    "recovery": ("recovery", ["anchor.train=1.0"], (0.41, 0.02, 50.0)),
    "sft+interp": ("interpolated", ["anchor.train=1.0"], (0.35, 0.05, 50.0)),
}
BEST = {
    "SFT": "sft_free",
    "Rivals against forgetting": "shield",
    "Between untouched model and end (WiSE-FT)": "sft+interp",
    "GRPO": "grpo",
    "Other GRPO": "grpo_lr",
    "Hybrids of GRPO and reference texts": "guide",
    "Controls": "random",
}


def with_cost(point: Json, seconds: float) -> Json:
    cost = dict.fromkeys(("prompts", "tokens", "sampled_tokens", "scored_tokens", "updates"), 10.0)
    return point | {"cost": cost | {"seconds": seconds}}


def rows_of(folder: Path, recommended: str) -> tuple[dict[tuple[str, str], Json], str]:
    """Three seeds; the warm start has the score 0.3, the tax 0.01 and takes 20 seconds."""
    points = [with_cost(invented_point("untouched", "untouched", even(0.1), even(0.0)), 0.0)]
    for seed in (0, 1, 2):
        warm = invented_point("warm_start", "warm_start", even(0.3), even(0.01), seed=seed)
        points.append(with_cost(warm, 20.0))
        for name, (kind, settings, (score, tax, seconds)) in ARMS.items():
            point = invented_point(name, kind, even(score), even(tax), seed=seed, step=20, settings=settings)
            start = "sft" if name == "behind" else "warm_start"
            points.append(with_cost(point, seconds) | {"start": start})
    write_points(folder, points)
    (folder / "study.json").write_text(json.dumps({"recommended": recommended}), encoding="utf-8")
    _, plain, summary = write_study_report(folder, resamples=20)
    rows = json.loads(summary.read_text(encoding="utf-8"))["main_table"]
    return {(row["price"], row["group"]): row for row in rows}, plain.read_text(encoding="utf-8")


def test_the_best_of_each_group_at_its_end_and_at_an_equal_cost(tmp_path: Path) -> None:
    rows, plain = rows_of(tmp_path, "grpo")
    assert {group: rows["end", group]["arm"] for group in GROUPS} == BEST
    assert [rows["end", group]["of"] for group in GROUPS] == [2, 2, 1, 1, 1, 2, 1]
    for group, name in BEST.items():
        score, tax, _ = ARMS[name][2]
        row = rows["end", group]
        assert row["gains"]["cosine_held_out"]["value"] == pytest.approx(score - 0.3)
        assert row["tax"]["value"] == pytest.approx(tax)
        assert (row["minus_pace"] is None) == (name == "grpo")
    assert rows["end", "SFT"]["minus_pace"]["value"] == pytest.approx(0.2)
    # 120 seconds from the untouched model: the free SFT is a quarter of its way from 20 to 420, the other at its end
    sft = rows["seconds", "SFT"]
    assert (sft["arm"], sft["cost"]) == ("sft", 120.0)
    assert sft["gains"]["cosine_held_out"]["value"] == pytest.approx(0.15)
    guide = rows[
        "seconds", "Hybrids of GRPO and reference texts"
    ]  # half of its way; `behind` begins at 70 of its 170
    assert (guide["arm"], guide["of"]) == ("behind", 2)
    assert guide["gains"]["cosine_held_out"]["value"] == pytest.approx(0.15 + 0.1 / 2)
    assert guide["tax"]["value"] == pytest.approx(0.1 - 0.05 / 2)
    assert {row["cost"] for (price, _), row in rows.items() if price == "all_tokens"} == {60.0}
    assert "| SFT | sft\\_free (of 2) | +0.400 (+0.400 to +0.400) |" in plain
    assert "At equal seconds (120)" in plain and "At equal tokens (60)" in plain


def test_the_recommended_arm_sets_the_cost(tmp_path: Path) -> None:
    rows, plain = rows_of(tmp_path, "guide")
    assert rows["seconds", "SFT"]["cost"] == 220.0
    assert rows["end", "Hybrids of GRPO and reference texts"]["minus_pace"] is None
    assert rows["end", "GRPO"]["minus_pace"]["value"] == pytest.approx(-0.1)
    claim = "The claim is refuted: guide pays at most half the tax of the best SFT (sft\\_free) at its score, or gains more at its tax."
    assert claim.replace("\\", "") in plain.replace("\\", "")
