"""Learned metrics in the results of a system, in a comparison, in the report of a run and of a study."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from invented_points import even, invented_study, write_points
from invented_run import character_embed, invented_examples, length_embed, noisy, write_run
from metric_folders import metric_folder

from eval.metrics.learned import LearnedScores, rewarded_metrics
from eval.report.learned import learned_changes, learned_table
from eval.run_folder import read_run
from eval.study.report import write_study_report
from eval.systems import compare_systems, evaluate_system
from reward.learned.scores import Metrics, open_scorer

CPU = torch.device("cpu")
FACTS = {
    "comet": {"family": "comet", "better": 1, "rewarded": True, "signature": "comet:0123"},
    "errors": {"family": "metricx", "better": -1, "rewarded": False, "signature": "metricx:4567"},
}


def test_a_system_has_the_score_of_each_item_and_the_mean(tmp_path: Path) -> None:
    folder = str(metric_folder(tmp_path, "bleurt"))
    learned = LearnedScores(
        Metrics({"bleurt": folder}, CPU), rewarded_metrics({"bleurt": 0.0}, (), ["bleurt"])
    )
    examples = invented_examples(6)
    results = []
    for seed in (0, 1):
        outputs = noisy([one.reference for one in examples], 0.5, seed)
        result = evaluate_system(
            f"system{seed}", examples, outputs, embed=character_embed, is_consistent=lambda text, reference: True,
            encoder="one", held_out=length_embed, held_out_encoder="two", learned=learned,
        )  # fmt: skip
        expected = open_scorer(folder, CPU).scores(
            [one.source for one in examples], outputs, [one.references for one in examples]
        )
        assert [item["learned"]["bleurt"] for item in result["items"]] == pytest.approx(expected.tolist())
        assert result["metrics"]["all"]["bleurt"] == pytest.approx(expected.mean().item(), abs=1e-6)
        assert result["learned"]["bleurt"]["rewarded"] is False
        results.append(result)
    means = [one["metrics"]["all"]["bleurt"] for one in results]
    change = compare_systems(*results, seed=0, resamples=200)["slices"]["all"]["bleurt"]
    assert change["difference"] == pytest.approx(means[1] - means[0])
    assert change["low"] < change["difference"] < change["high"]


def test_what_pays_is_in_brackets() -> None:
    assert rewarded_metrics({"a": 1.0, "b": 0.0}, ("c",), "abcd") == {"a", "c"}


def test_a_report_shows_a_rewarded_metric_in_brackets(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert learned_table(read_run(run)) is None
    for number, path in enumerate(sorted((run / "eval").glob("*.json"))):
        document: dict[str, Any] = json.loads(path.read_text())
        if "metrics" in document:
            document["learned"] = FACTS
            document["metrics"]["all"] |= {"comet": 0.5 + number / 100, "errors": 3.0}
        for pair in document.get("pairs", []):
            pair["slices"]["all"] |= {"errors": pair["slices"]["all"]["chrf"]}
        path.write_text(json.dumps(document))
    table = learned_table(read_run(run))
    assert table is not None
    assert table.header == ("System", "n", "[comet]", "errors, lower is better")
    assert table.rows[0][1] == "60"
    assert table.rows[0][3] == "3.000"
    assert "comet: comet:0123" in table.notes
    changes = learned_changes(read_run(run), "warm_start", "trained")
    assert changes is not None
    assert [row[0] for row in changes.rows] == ["errors, lower is better"]


def test_a_study_shows_learned_metrics_of_every_checkpoint(tmp_path: Path) -> None:
    points = invented_study()
    for number, point in enumerate(points):
        point["target"]["learned"] = FACTS | {"comet": FACTS["comet"] | {"rewarded": point["arm"] == "grpo"}}
        for item, value in zip(point["target"]["items"], even(0.5 + number / 8), strict=True):
            item["learned"] = {"comet": value, "errors": 25 * (1 - value)}
    page, _, summary = write_study_report(write_points(tmp_path, points), resamples=50)
    text = page.read_text(encoding="utf-8")
    assert "[comet]" in text
    assert "errors, lower is better" in text
    rows = json.loads(summary.read_text(encoding="utf-8"))["checkpoints"]
    values = {row["arm"]: row["metrics"]["comet"]["value"] for row in rows}
    assert values[points[0]["arm"]] == pytest.approx(0.5)
    gains = [row["gains"]["errors"]["value"] for row in rows if row["gains"]["errors"]]
    assert min(gains) < 0
