"""What a report claims: the findings by intervals and numbers of items, and the test items that are missing."""

import json
from pathlib import Path

import numpy as np
import pytest
from invented_run import write_run

from data.documents import read_object
from eval.metrics.significance import resample_counts
from eval.report.findings import findings
from eval.report.gaps import missing_test_items
from eval.report.tables import change_table, change_tables_of_parts
from eval.report.wording import MIN_ITEMS
from eval.run_folder import read_run
from eval.systems import write_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def with_cosine(run: Path, low: float, difference: float, high: float) -> str:
    """The findings when the cosine's change is as given."""
    path = run / "eval" / "comparison.json"
    comparison = json.loads(path.read_text(encoding="utf-8"))
    comparison["pairs"][0]["slices"]["all"]["cosine"] |= {"low": low, "difference": difference, "high": high}
    write_json(path, comparison)
    return " ".join(findings(read_run(run)))


def test_findings_follow_the_interval(run: Path) -> None:
    assert with_cosine(run, 0.01, 0.02, 0.03).startswith(
        "By embedding cosine, GRPO brought the outputs closer"
    )
    unclear = with_cosine(run, -0.01, 0.005, 0.02)
    assert (
        unclear.startswith("By embedding cosine, GRPO made no clear difference")
        and "+0.005, 95 % interval \u22120.010 to +0.020, which includes 0" in unclear
    )
    assert with_cosine(run, -0.03, -0.02, -0.01).startswith(
        "By embedding cosine, GRPO took the outputs further"
    )


def test_fewer_than_thirty_items_get_no_verdict_whatever_their_interval(tmp_path: Path) -> None:
    """A few items that all rose have an interval far above 0, and prove nothing."""
    small = write_run(tmp_path / "small", count=29)
    enough = write_run(tmp_path / "enough", count=30)
    texts = {run: with_cosine(run, 0.1, 0.2, 0.3) for run in (small, enough)}
    assert texts[small].startswith("No verdict on GRPO: n = 29 is too small.")
    assert " rose " not in texts[small] and " fell " not in texts[small] and " beats " not in texts[small]
    assert "Cosine went from " in texts[small] and "+0.200, 95 % interval +0.100 to +0.300" in texts[small]
    assert texts[enough].startswith("By embedding cosine, GRPO brought the outputs closer")
    assert "Cosine rose from " in texts[enough]
    for run, count in ((small, 29), (enough, 30)):
        tables = [
            change_table(read_run(run), "warm_start", "trained"),
            *change_tables_of_parts(read_run(run), "warm_start", "trained"),
        ]
        for row in (row for table in tables for row in table.rows):
            assert (row[-1] == "too few items") == (int(row[1]) < 30), row
        assert {row[1] for row in tables[0].rows} == {str(count)}


def test_an_interval_over_few_items_is_too_narrow() -> None:
    """What MIN_ITEMS rests on: how often a nominal 95 % percentile interval holds the mean it should."""
    generator = np.random.default_rng(0)
    coverage = {}
    for n in (5, MIN_ITEMS):
        hits = []
        for values in generator.normal(size=(400, n)):
            counts = resample_counts(n, generator, 400)
            low, high = np.quantile(counts @ values / n, [0.025, 0.975])
            hits.append(low <= 0 <= high)
        coverage[n] = np.mean(hits)
    assert 0.78 < coverage[5] < 0.89 and 0.91 < coverage[MIN_ITEMS] < 0.97


def test_a_test_set_that_the_corpus_could_not_fill_is_named() -> None:
    parts = {
        "test": {"pairs": 20, "languages": {"bo": 17, "dz": 3}},
        "train": {"languages": {"bo": 9, "mn": 5}},
    }
    corpus = {"manifest": {"splits": parts}}
    assert missing_test_items({"test_size": 60, "test_min_per_language": 10}, corpus) == [
        "The test set has 20 of the 60 items of data.test_size: the corpus is too small.",
        "Fewer than 10 test items of a language (data.test_min_per_language): Dzongkha (dz) has 3, Mongolian (mn) has 0.",
    ]
    assert missing_test_items({"test_size": 20, "test_min_per_language": 3}, corpus)[0].endswith(
        "Mongolian (mn) has 0."
    )
    del parts["train"]
    assert missing_test_items({"test_size": 20, "test_min_per_language": 3}, corpus) == []
    assert missing_test_items({}, {}) == []


def test_findings_name_the_translation_memory_and_the_probes(run: Path) -> None:
    text = " ".join(findings(read_run(run)))
    assert "it beats the translation memory" in text
    assert "General competence, GRPO against the untouched model: English text, bits per character" in text
    assert "McNemar p = " in text


def test_findings_say_when_what_is_paid_and_what_is_not_disagree(run: Path) -> None:
    """The reward pays for the cosine: it clearly rises, chrF clearly falls, BLEU does not clearly change."""
    comparison = read_object(run / "eval" / "comparison.json")
    rows = comparison["pairs"][0]["slices"]["all"]
    for key, sign in (("cosine", 1), ("cosine_held_out", 1), ("chrf", -1), ("bleu", 0), ("rouge_l", 0)):
        rows[key] |= {"low": sign - 0.5, "difference": float(sign), "high": sign + 0.5}
    write_json(run / "eval" / "comparison.json", comparison)

    def sentence(**reward: object) -> str:
        write_json(run / "config.json", {"seed": 0, "reward": reward})
        return " ".join(one for one in findings(read_run(run)) if "disagree" in one)

    assert sentence(weights={"cosine": 1.0}, gates=["script"]) == (
        "Rewarded and held-out metrics disagree: Cosine got better (+1.000), which the reward pays for, and chrF got "
        "worse (\u22121.00), which it does not."
    )
    assert "Cosine got better (+1.000) and Held-out" not in sentence(weights={"cosine": 1.0})
    assert sentence(weights={"cosine": 1.0, "chrf": 0.5}).startswith(
        "Rewarded and held-out metrics disagree: chrF"
    )
    assert sentence(weights={"nonempty": 1.0}) == sentence(weights={"bleu": 1.0}) == ""


def test_findings_say_when_the_reward_was_gamed(run: Path) -> None:
    assert "ALARM" not in " ".join(findings(read_run(run)))
    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row["stage"] == "train":
            row |= {
                "chrf_mean": 0.5 - row["chrf_mean"],
                "cosine_held_out_mean": 0.5 - row["cosine_held_out_mean"],
            }
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "ALARM step 60: the reward rises while what is not rewarded falls" in " ".join(
        findings(read_run(run))
    )
