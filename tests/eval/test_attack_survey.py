"""The page of all rewards and attacks: margins by hand on invented texts, and what is marked."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from metric_folders import metric_folder
from plain_vectors import PlainVectors, counts

from data.errors import InputError
from data.examples import Example
from eval.attack_survey import LANGUAGES, cell, main, page, rewards_of, survey, worst
from reward.attacks import ATTACKS
from reward.composite import COMPOSITE_GATES, composite
from reward.learned.scores import Metrics, open_scorer

TEXTS = ["甲甲乙丙", "乙乙乙丁", "甲乙戊己庚", "乙丙丁戊", "甲甲甲辛壬"]


EXAMPLES = [
    Example(f"zh#{n}", "english", text, "made up", "none", "en", "zh") for n, text in enumerate(TEXTS)
]
STORES = cast(Any, {"use": PlainVectors(counts)})


@pytest.fixture(scope="module")
def chinese() -> Any:
    return survey("zh", EXAMPLES, STORES)


def test_every_reward_has_a_margin_for_every_attack_that_applies(chinese: Any) -> None:
    assert list(chinese.margins) == list(rewards_of(["use"])) and chinese.n == 5
    for name, margins in chinese.margins.items():
        assert {*margins} == {*chinese.counts} - {"the reference text"} and {*margins} <= {*ATTACKS}
        assert max(margins.values()) <= 1.0
        assert margins["empty"] == 1.0 or name.startswith("rank")  # a rank is never 0


def test_margins_by_hand(chinese: Any) -> None:
    """Three times the text has the same direction under counts; three quarters of a longer text fail the length."""
    margins = chinese.margins
    assert margins["cosine by use, alone"]["repeated 3x"] == pytest.approx(0.0, abs=1e-6)
    assert margins["cosine by use, alone"]["shuffled"] == pytest.approx(0.0, abs=1e-6)
    assert margins["cosine by use, four gates"]["shuffled"] == pytest.approx(0.0, abs=1e-6)
    assert margins["cosine by use, composite"]["shuffled"] > 0.1
    assert margins["cosine by use, composite"]["source copied"] == 1.0
    assert margins["chrf, composite"]["repeated 3x"] > margins["chrf, four gates"]["repeated 3x"]


def test_the_weakest_attack_is_marked() -> None:
    assert worst({"a": 0.5, "b": 0.3, "c": 0.9}) == ("b", 0.3)
    assert [cell(value) for value in (0.4, 0.399, -0.2)] == ["0.40", "0.40 !", "-0.20 !"]


def test_the_page_has_a_table_of_each_reward(chinese: Any) -> None:
    text = page([chinese], ["use"], "make attacks")
    assert "| zh | Chinese | Han | 5 | cosine by use, composite |" in text
    for name in rewards_of(["use"]):
        assert f"| {name.replace('_', chr(92) + '_')} | " in text  # a row of the summary
        assert (f"\n## {name.replace('_', chr(92) + '_')}\n" in text) == ("four gates" not in name)


def test_ten_languages_of_eight_scripts_at_least() -> None:
    from data.script import known_script

    assert len(LANGUAGES) >= 10 and len({known_script(code) for code in LANGUAGES}) >= 8


def test_what_is_suggested_depends_on_the_encoder() -> None:
    assert composite("sw")["weights"] == {"chrf": 1.0} and composite("fra_Latn")["weights"] == {"cosine": 1.0}
    assert composite("sw", has_encoder=True)["weights"] == {"cosine": 1.0}
    assert composite("sw")["gates"] == COMPOSITE_GATES


def test_an_unknown_language_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--languages", "es,xx"]) == 2
    assert "--languages xx: must be one of es, tr" in capsys.readouterr().err


def test_a_learned_metric_has_its_rows(tmp_path: Path) -> None:
    """A tiny random MetricX: the mean of 1 - R(nothing) / R(reference text), from its own scores."""
    folder = str(metric_folder(tmp_path, "metricx"))
    metrics = Metrics({"errors": folder}, torch.device("cpu"))
    found = survey("zh", EXAMPLES, STORES, metrics)
    scorer = open_scorer(folder, torch.device("cpu"))
    references = [[text] for text in TEXTS]
    empty, whole = (
        scorer.rewards(["english"] * 5, outputs, references).double() for outputs in ([""] * 5, TEXTS)
    )
    assert found.margins["errors, alone"]["empty"] == pytest.approx(float((1 - empty / whole).mean()))
    assert found.margins["errors, four gates"]["empty"] == 1.0
    assert "## errors, composite" in page([found], ["use"], "make attacks", ["errors (metricx:0123)"])
    assert list(found.margins) == list(rewards_of(["use"], ["errors"]))


def test_a_metric_that_pays_nothing_for_a_reference_text_is_named(tmp_path: Path) -> None:
    metrics = Metrics({"bleurt": str(metric_folder(tmp_path, "bleurt"))}, torch.device("cpu"))

    with pytest.raises(InputError, match="bleurt pays nothing for a reference text itself"):
        survey("zh", EXAMPLES[:2], STORES, metrics)


@pytest.mark.parametrize("text", ["comet", "chrf=folder", "a-b=folder"])
def test_a_metric_without_a_name_of_its_own_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--languages", "es", "--metric", text]) == 2
    assert f"--metric {text}: write NAME=FOLDER" in capsys.readouterr().err
