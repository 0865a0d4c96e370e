"""Whether to ship: the rule, its few words, and that it quotes the rows of the tables."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_run import invented_probes, write_run

from eval.forgetting.probe_changes import compare_probes
from eval.report.blocks import Document, Table
from eval.report.changes import Change
from eval.report.document import report_document
from eval.report.gaps import NO_PICTURE
from eval.report.picture import gain_against_tax
from eval.report.verdict import answer, verdict
from eval.report.wording import METRICS
from eval.run_folder import RunFolder, read_run

SIDES = {"up": (0.01, 0.02, 0.03), "open": (-0.01, 0.005, 0.02), "down": (-0.03, -0.02, -0.01)}
MINUS = "\u2212"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return read_run(write_run(tmp_path_factory.mktemp("run")))


def with_changes(run: RunFolder, probes: dict[str, Any], **scores: dict[str, str]) -> RunFolder:
    """The run with other changes: before -> metric -> side, and the probes of the trained model."""
    comparison = json.loads(json.dumps(run.comparison))
    for pair in comparison["pairs"]:
        if pair["after"] == "trained":
            for key, side in scores.get(pair["before"], {}).items():
                low, difference, high = SIDES[side]
                pair["slices"]["all"][key] |= {"low": low, "difference": difference, "high": high}
            if pair["before"] == "untouched":
                pair["probes"] = probes
    return replace(run, comparison=comparison)


def text_change(side: str) -> dict[str, Any]:
    low, difference, high = SIDES[side]
    return {
        "before": 1.0,
        "after": 1.0 + difference,
        "difference": difference,
        "low": low,
        "high": high,
        "n": 24,
    }


def questions(gained: int, lost: int, p_value: float) -> dict[str, Any]:
    return {"difference": (gained - lost) / 120, "gained": gained, "lost": lost, "p_value": p_value, "n": 120}


GOOD = {"cosine_held_out": "up", "chrf": "up"}
RIVALS = {"untouched": GOOD, "translation_memory": GOOD}


@pytest.mark.parametrize(
    ("gain", "rivals", "text", "start", "tone"),
    [
        (GOOD, RIVALS, "open", "Ship it: GRPO brought the outputs closer", "good"),
        (GOOD, RIVALS, "down", "Ship it: GRPO brought the outputs closer", "good"),
        (GOOD, RIVALS, "up", "Ship it for this task only: ", "caution"),
        (GOOD, RIVALS, "", "Ship it for this task: ", "caution"),
        ({**GOOD, "chrf": "open"}, RIVALS, "open", "Ship it: ", "good"),
        ({**GOOD, "chrf": "down"}, RIVALS, "open", "Do not ship it: GRPO lowered chrF.", "bad"),
        ({**GOOD, "cosine_held_out": "down"}, RIVALS, "open", "Do not ship it: GRPO lowered Held-out", "bad"),
        ({**GOOD, "cosine_held_out": "open"}, RIVALS, "open", "Keep the warm start: GRPO made no clear", "caution"),
        (GOOD, {**RIVALS, "translation_memory": {"chrf": "down"}}, "open", "Do not ship it: by chrF the tr", "bad"),
        (GOOD, {**RIVALS, "untouched": {"cosine_held_out": "down"}}, "open", "Do not ship it: by Held-out", "bad"),
    ],
)  # fmt: skip
def test_the_answer_follows_gain_rivals_and_cost(
    whole: RunFolder,
    gain: dict[str, str],
    rivals: dict[str, dict[str, str]],
    text: str,
    start: str,
    tone: str,
) -> None:
    """Fewer bits of general text are better, so a cost that is `down` is none."""
    probes = {"english": text_change(text)} if text else {}
    found = answer(with_changes(whole, probes, warm_start=gain, **rivals))
    assert found.text.startswith(start) and found.tone == tone


OPEN = {"cosine_held_out": "open", "chrf": "open"}
LOST = {"cosine_held_out": "up", "chrf": "down"}
UNTOUCHED, MEMORY = "by Held-out cosine the untouched model", "by chrF the translation memory"


@pytest.mark.parametrize(
    ("gain", "rival", "better", "text"),
    [
        (OPEN, "translation_memory", "chrf", f"GRPO made no clear difference to Held-out cosine, and {MEMORY}"),
        (OPEN, "untouched", "cosine_held_out", f"GRPO made no clear difference to Held-out cosine, and {UNTOUCHED}"),
        (LOST, "translation_memory", "chrf", f"GRPO lowered chrF, and {MEMORY}"),
        (LOST, "untouched", "cosine_held_out", f"GRPO lowered chrF, and {UNTOUCHED}"),
    ],
)  # fmt: skip
def test_a_warm_start_below_a_simpler_system_is_not_kept(
    whole: RunFolder, gain: dict[str, str], rival: str, better: str, text: str
) -> None:
    """Past bug: of two models at chrF 0 the report kept one, beside a translation memory at chrF 25."""
    run = with_changes(whole, {}, warm_start=gain, **RIVALS)
    kept = answer(run).text
    rival_pair = run.pair(rival, "warm_start")
    assert rival_pair is not None
    score = rival_pair["slices"]["all"][better]
    for side in ("open", "up"):
        score |= dict(zip(("low", "difference", "high"), SIDES[side], strict=True))
        assert answer(run).text == kept and kept.startswith(("Keep the warm start: ", "Do not ship it: "))
    score |= dict(zip(("low", "difference", "high"), SIDES["down"], strict=True))
    assert answer(run) == (f"Ship neither: {text} does better than the warm start.", "bad")
    gained = with_changes(run, {}, warm_start=GOOD, **RIVALS)
    assert answer(gained).text.startswith("Ship it for this task: ")


def test_every_simpler_system_that_does_better_is_named(whole: RunFolder) -> None:
    run = with_changes(whole, {}, warm_start=OPEN, **RIVALS)
    for rival, key in (("untouched", "cosine_held_out"), ("translation_memory", "chrf")):
        pair = run.pair(rival, "warm_start")
        assert pair is not None
        pair["slices"]["all"][key] |= dict(zip(("low", "difference", "high"), SIDES["down"], strict=True))
    assert f"and {UNTOUCHED} and {MEMORY} do better than the warm start." in answer(run).text


def test_of_an_earlier_comparison_the_trained_model_stands_for_the_warm_start(whole: RunFolder) -> None:
    memory = {**RIVALS, "translation_memory": {"chrf": "down"}}
    run = with_changes(whole, {}, warm_start=OPEN, **memory)
    assert answer(run).text.startswith("Keep the warm start")
    run.comparison["pairs"] = [pair for pair in run.comparison["pairs"] if pair["after"] == "trained"]
    assert answer(run).text.startswith("Ship neither: GRPO made no clear difference")


def test_lost_questions_are_a_cost_from_p_005_on(whole: RunFolder) -> None:
    kept, lost = (
        with_changes(whole, {"capitals_accuracy": questions(3, 12, p)}, warm_start=GOOD, **RIVALS)
        for p in (0.06, 0.04)
    )
    assert answer(kept).tone == "good" and "none of 1 probes clearly got worse" in verdict(kept)
    assert answer(lost).tone == "caution" and f"Capital cities, accuracy {MINUS}7.5 pp." in verdict(lost)


def test_few_items_or_no_comparison_get_no_answer(tmp_path: Path) -> None:
    few = read_run(write_run(tmp_path / "few", count=29))
    assert answer(few) == ("No verdict on GRPO: 29 test items, fewer than 30.", "")
    assert {number.way for number in report_document(few).numbers[:2]} == {""}
    alone = read_run(write_run(tmp_path / "alone", systems=("untouched", "warm_start")))
    assert answer(alone) == ("No verdict on GRPO: it was not compared with the warm start.", "")
    assert [number.against for number in report_document(alone).numbers] == [
        "against the untouched model"
    ] * 4


def test_a_gamed_reward_is_not_shipped(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path))
    rows = [row | {key: 0.5 - row[key] for key in ("chrf_mean", "cosine_held_out_mean")} for row in run.train]
    gamed = with_changes(replace(run, train=tuple(rows)), {}, warm_start=GOOD, **RIVALS)
    assert answer(gamed).text.startswith("Do not ship it: the reward rose") and answer(gamed).tone == "bad"


def all_rows(document: Document) -> list[tuple[str, ...]]:
    tables = [block for section in document.sections for block in section.blocks if isinstance(block, Table)]
    return [row for table in tables for row in table.rows]


def test_verdict_and_numbers_quote_rows_of_the_tables(whole: RunFolder) -> None:
    document = report_document(whole)
    rows = all_rows(document)
    assert len(document.numbers) == 4
    for number in document.numbers:
        own = [row for row in rows if row[0] == number.label]
        quotes = [{number.change, number.interval}, {f"{number.change} ({number.interval})"}]
        assert any(quote <= set(row) for row in own for quote in quotes), number
    for label, change in re.findall(r"([A-Z][^.;:]*?) ([+\u2212][\d.]+(?: pp)?)[.;]", document.reasons[-1]):
        assert any(row[0] == label and any(cell.startswith(f"{change} (") for cell in row) for row in rows), (
            label
        )


def test_a_probe_scored_per_character_is_called_so(whole: RunFolder) -> None:
    """The row of the same questions without that score says something else."""
    probes = {"idioms_accuracy": questions(4, 4, 1.0), "idioms_accuracy_per_character": questions(0, 3, 0.01)}
    run = with_changes(whole, probes, warm_start=GOOD, **RIVALS)
    quoted = f"Chinese idioms, accuracy (score per character) {MINUS}2.5 pp"
    assert quoted in verdict(run) and "Chinese idioms, accuracy 0.0 pp" not in verdict(run)
    (row,) = (row for row in all_rows(report_document(run)) if row[0] == quoted.rpartition(f" {MINUS}")[0])
    assert f"{MINUS}2.5 pp (p = 0.01)" in row


def test_at_most_three_short_sentences(whole: RunFolder) -> None:
    worse = compare_probes(invented_probes(0), invented_probes(0), seed=0)
    for key in worse:
        worse[key] = text_change("up") if key in ("english", "chinese") else questions(0, 90, 0.001)
    for probes in ({}, {"english": text_change("open")}, worse):
        for side in SIDES:
            run = with_changes(whole, probes, warm_start=dict.fromkeys(GOOD, side), **RIVALS)
            document = report_document(run)
            sentences = [document.verdict, *document.reasons]
            assert len(sentences) <= 3 and verdict(run) == " ".join(sentences)
            for sentence in sentences:
                assert sentence.endswith(".") and len(sentence.split()) <= 28, sentence


def test_the_picture_has_a_line_for_each_general_text(whole: RunFolder) -> None:
    figure = gain_against_tax(whole)
    assert figure is not None and figure.table is not None
    pair = whole.pair("untouched", "trained")
    assert pair is not None
    change = pair["probes"]["chinese"]
    (row,) = (row for row in figure.table.rows if row[0] == "GRPO, Chinese text")
    assert row[1] == f"{pair['slices']['all']['cosine_held_out']['after']:.3f}"
    assert row[2].startswith(f"{change['difference']:+.3f} (".replace("-", MINUS).replace("+0.000", "0.000"))
    assert [row[0] for row in figure.table.rows][:3] == [
        f"{name}, English text" for name in ("Untouched model", "Warm start (SFT)", "GRPO")
    ]


def test_without_general_text_there_is_no_picture_and_four_numbers_of_the_task(whole: RunFolder) -> None:
    run = with_changes(whole, {}, warm_start=GOOD)
    for pair in run.comparison["pairs"]:
        pair["probes"] = None
    document = report_document(run)
    assert document.picture is None and NO_PICTURE in document.gaps
    assert NO_PICTURE not in report_document(whole).gaps
    labels = [number.label for number in document.numbers]
    assert labels == ["Held-out cosine", "chrF", "BLEU", "Script consistency"]


@pytest.mark.parametrize(
    ("key", "interval", "words"),
    [
        ("length_ratio", (0.1, 0.2, 0.3), "higher"),
        ("length_ratio", (-0.3, -0.2, -0.1), "lower"),
        ("length_ratio", (-0.1, 0.2, 0.3), "no clear change"),
        ("empty_share", (0.1, 0.2, 0.3), "worse"),
        ("chrf", (0.1, 0.2, 0.3), "better"),
    ],
)
def test_a_figure_that_is_neither_good_nor_bad_rises_or_falls(
    key: str, interval: tuple[float, float, float], words: str
) -> None:
    metric = next(one for one in METRICS if one.key == key)
    facts = dict(zip(("low", "difference", "high"), interval, strict=True))
    assert Change(metric.label, metric, facts).reading == words
