"""Learned metrics in the results of a system, in a comparison, in the report of a run and of a study."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from invented_points import even, invented_study, study_report
from invented_run import change_results, invented_examples, invented_result, noisy, write_run
from metric_folders import metric_folder

from eval.metrics.learned import LearnedScores, rewarded_metrics
from eval.report.brackets import rewarded_scores
from eval.report.findings import findings
from eval.report.learned import learned_changes, learned_table
from eval.report.ranks import run_ranks
from eval.report.tables import change_table, change_tables_of_parts, overall_table, slice_table
from eval.run_folder import read_run
from eval.study.sequence_tables import sequence_tables
from eval.study.transfer_tables import transfer_pairs_table, transfer_table
from eval.systems import compare_systems, write_comparison
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
        result = invented_result(f"system{seed}", examples, outputs, learned=learned)
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
    assert learned_table(read_run(run)).rows == ()

    def change(document: dict[str, Any]) -> None:
        if "metrics" in document:
            document["learned"] = FACTS
            document["metrics"]["all"] |= {"comet": 0.5, "errors": 3.0}
        for pair in document.get("pairs", []):
            pair["slices"]["all"] |= {"errors": pair["slices"]["all"]["chrf"]}

    change_results(run, change)
    table = learned_table(read_run(run))
    assert table is not None
    assert table.header == ("System", "n", "[comet]", "errors, lower is better")
    assert table.rows[0][1] == "60"
    assert table.rows[0][3] == "3.000"
    assert "comet: comet:0123" in table.notes
    changes = learned_changes(read_run(run), "trained")
    assert changes is not None
    assert [row[0] for row in changes.rows] == ["errors, lower is better"]


def test_a_study_shows_learned_metrics_of_every_checkpoint(tmp_path: Path) -> None:
    points = invented_study()
    for number, point in enumerate(points):
        point["target"]["learned"] = FACTS | {"comet": FACTS["comet"] | {"rewarded": point["arm"] == "grpo"}}
        for item, value in zip(point["target"]["items"], even(0.5 + number / 8), strict=True):
            item["learned"] = {"comet": value, "errors": 25 * (1 - value)}
    text, _, summary = study_report(tmp_path, points)
    assert "[comet]" in text
    assert "errors, lower is better" in text
    rows = summary["checkpoints"]
    values = {row["arm"]: row["metrics"]["comet"]["value"] for row in rows}
    assert values[points[0]["arm"]] == pytest.approx(0.5)
    gains = [row["gains"]["errors"]["value"] for row in rows if row["gains"]["errors"]]
    assert min(gains) < 0


def test_ranks_of_the_arms_are_in_the_report_of_a_study(tmp_path: Path) -> None:
    """By a metric that counts errors the arm with the fewest is first, and arms with equal outputs share a rank."""
    points = invented_study()
    arms = list(dict.fromkeys(point["arm"] for point in points if point["kind"] != "untouched"))
    for point in points:
        point["target"]["learned"] = FACTS
        place = arms.index(point["arm"]) if point["arm"] in arms else 0
        for item in point["target"]["items"]:
            item["learned"] = {"comet": place / 8, "errors": 5.0 + place}
    page, _, figures = study_report(tmp_path, points, resamples=200)
    own = figures["ranks"][""]
    ranks = {key: dict(zip(own["arms"], numbers, strict=True)) for key, numbers in own["ranks"].items()}
    assert ranks["errors"] == {name: number for number, name in enumerate(arms, 1)}
    assert ranks["comet"] == {name: number for number, name in enumerate(reversed(arms), 1)}
    assert "Ranks of the arms, 1 = the best" in page


def test_ranks_are_in_the_comparison_and_the_report_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path)

    def change(document: dict[str, Any]) -> None:
        document["learned"] = {"errors": FACTS["errors"]}
        for item in document.get("items", []):
            item["learned"] = {"errors": 2.0 if document["system"] == "trained" else 7.0}

    change_results(run, change)
    comparison = write_comparison(run, 0, 200)
    ranks = comparison["ranks"]["errors"]
    assert ranks["trained"] == 1
    assert {rank for name, rank in ranks.items() if name != "trained"} == {2}
    assert comparison["ranks"]["chrf"].keys() == ranks.keys()
    table = run_ranks(read_run(run))
    assert table is not None and table.header[-1] == "errors, lower is better"
    assert {row[0]: row[-1] for row in table.rows}["GRPO"] == "1"


def test_findings_say_where_a_learned_metric_disagrees(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    rise = {"difference": 0.2, "low": 0.1, "high": 0.3, "before": 0.5, "after": 0.7, "n": 60}

    def change(document: dict[str, Any]) -> None:
        document["learned"] = FACTS
        for pair in document.get("pairs", []):
            unclear = {key: own | {"low": -1.0, "high": 1.0} for key, own in pair["slices"]["all"].items()}
            pair["slices"]["all"] = unclear | {"comet": rise, "errors": rise}

    change_results(run, change)
    (sentence,) = [one for one in findings(read_run(run)) if "disagree" in one]
    assert "comet got better (+0.200), which the reward pays for, and errors got worse (+0.200)" in sentence


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"reward": {"weights": {"chrf": 1.0, "bleu": 0.0}, "gates": ["script"]}}, {"chrf"}),
        ({"reward": {"weights": {"margin": 1.0}, "gates": ["coverage"]}}, {"cosine"}),
        ({"reward": {"weights": {"chrf": 1.0}}, "train": {"method": "sft"}}, set()),
        ({}, set()),
    ],
)
def test_which_scores_training_optimised(config: dict[str, Any], expected: set[str]) -> None:
    assert rewarded_scores(config) == expected


def test_every_table_of_a_run_marks_a_rewarded_chrf(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"reward": {"weights": {"chrf": 1.0}, "gates": []}}))
    folder = read_run(run)
    ranks = run_ranks(folder)
    assert ranks is not None
    tables = [overall_table(folder), slice_table(folder, "", origins=False), ranks]
    assert all("[chrF]" in one.header and "Cosine" in one.header for one in tables)
    differences = [
        change_table(folder, "warm_start", "trained"),
        *change_tables_of_parts(folder, "warm_start", "trained"),
    ]
    assert "[chrF]" in [row[0] for row in differences[0].rows]
    assert "BLEU" in [row[0] for row in differences[0].rows]
    p = differences[0].header.index("p, randomisation")
    assert all(0 < float(row[p].removeprefix("< ")) <= 1 for row in differences[0].rows)


def test_a_study_marks_what_any_arm_was_paid_for(tmp_path: Path) -> None:
    points = invented_study()
    points[-1]["target"]["rewarded"] = ["cosine"]
    text, _, _ = study_report(tmp_path, points)
    assert "[Cosine]" in text and "[Held-out cosine]" not in text and "[chrF]" not in text


def test_the_transfer_tables_have_the_learned_metrics() -> None:
    """Scores and differences of a start by a metric that was rewarded and one that counts errors."""
    keys = ("cosine", "cosine_held_out", "chrf", "rouge_l", "comet", "errors")
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    both = dict.fromkeys(keys, figure)
    row = {"examples": 50, "start": "grpo", "seeds": [0], "n": 8, "metrics": both}
    pair = {"examples": 50, "first": "sft", "second": "grpo", "seeds": [0], "changes": both}
    figures = {
        "rewarded": ["cosine"], "intervals": "x", "resamples": 10,
        "transfer": {"rows": [row], "pairs": [pair], "learned": FACTS},
    }  # fmt: skip
    labels = ("[Cosine]", "Held-out cosine", "chrF", "ROUGE-L", "[comet]", "errors, lower is better")
    table = transfer_table(figures)
    assert table.header == ("Start", "Seeds", "n", *labels)
    assert table.rows[0][-2:] == ("0.500", "0.500")
    differences = transfer_pairs_table(figures)
    assert differences.header == ("Starts", "Seeds", *labels)
    assert differences.rows[0][-1] == "+0.500 (+0.400 to +0.600)"


def test_the_sequence_tables_come_once_more_for_each_learned_metric() -> None:
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    recipe = {
        "recipe": "grpo", "seeds": [0], "accuracy": figure, "backward": figure, "forward": figure,
        "scores": [[figure, figure]] * 3,
    }  # fmt: skip
    sequence = {"tasks": ["a", "b"], "recipes": [recipe]}
    figures = {
        "target": "cosine", "rewarded": ["cosine"], "intervals": "x", "resamples": 10, "sequence": sequence,
        "learned_sequences": {name: {"facts": FACTS[name], "figures": sequence} for name in FACTS},
    }  # fmt: skip
    titles = [table.title for table in sequence_tables(figures)]
    assert titles[1::2] == [
        f"{name} after each stage" for name in ("[Cosine]", "[comet]", "errors, lower is better")
    ]
    assert all("0.250" in table.rows[0] for table in sequence_tables(figures))
