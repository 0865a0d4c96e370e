"""Writes a study's report: report.html, report.md and summary.json, from its points alone, without a model.

summary.json holds every figure and the conclusions but no test item; it is what a project commits
(`eval.readme_table`).
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text
from eval.metrics.significance import RESAMPLES
from eval.report.blocks import Block, Document, Sample, Samples, Section, Sentences, Table, Text
from eval.report.html import html_page
from eval.report.markdown import markdown
from eval.report.tables import key_value_table
from eval.report.wording import METRIC
from eval.run_folder import SYSTEM_LABELS, Json
from eval.study.cells import name_of
from eval.study.claim_report import claim_sentence
from eval.study.figures import SEED, figures
from eval.study.plots import pareto_figures, razor_pictures
from eval.study.points import WARM_START, Point, StudyFolder, read_study
from eval.study.roles import rank
from eval.study.sentences import conclusions, equal_cost_sentences
from eval.study.sequence_report import sequence_document, sequence_summary
from eval.study.tables import all_tables
from eval.study.verdict import answer, numbers, reasons

SAMPLES = 6
SAMPLE_SEED = 7
DIGITS = 6


def write_study_report(
    study: Path, target: str = "cosine_held_out", budget: float = 0.05, resamples: int = RESAMPLES
) -> tuple[Path, Path, Path]:
    """Write the three files into a study's folder; InputError if it holds neither points nor a sequence, or a file is damaged.

    `target` is the score by which checkpoints are chosen, `budget` the tax (nats per token) under which one
    is shipped.
    """
    contents = read_study(study)
    if contents.points:
        summary = round_numbers(figures(contents, target, budget, resamples))
        summary = {"conclusions": [*conclusions(summary), *claim_sentence(summary)], **summary}
        document = report_document(contents, summary)
    else:
        summary = round_numbers(sequence_summary(contents, target, resamples, SEED))
        document = sequence_document(contents, summary, configuration(contents))
    texts = html_page(document), markdown(document), summary_text(summary)
    paths = study / "report.html", study / "report.md", study / "summary.json"
    for path, text in zip(paths, texts, strict=True):
        atomic_write_text(path, text)
    return paths


def round_numbers(value: Any) -> Any:
    """A JSON value with its numbers rounded to DIGITS significant digits; signs are kept."""
    if isinstance(value, dict):
        return {key: round_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [round_numbers(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def summary_text(summary: Json) -> str:
    """JSON with one line for each key and each row of a list, so that a diff of two summaries is readable."""
    parts = []
    for key, value in summary.items():
        rows = value if isinstance(value, list) else None
        lines = ",\n  ".join(map(compact, rows)) if rows else ""
        parts.append(f" {compact(key)}: [\n  {lines}\n ]" if rows else f" {compact(key)}: {compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def report_document(study: StudyFolder, summary: Json) -> Document:
    """The whole report as a document."""
    text, tone = answer(summary)
    pictures = pareto_figures(summary)
    words = [front_words(summary), *equal_cost_sentences(summary, "seconds")]
    sections = [
        *(Section(title, tuple(tables)) for title, tables in all_tables(summary).items()),
        Section("Gain against tax", (*pictures[1:], *map(Text, words))),
        Section("Tax against KL on task prompts", tuple(razor_pictures(summary))),
        Section("Samples", sample_blocks(study, summary)),
        Section("All conclusions in words", (Sentences(tuple(summary["conclusions"])),), is_folded=True),
        Section("Checkpoints", (hash_table(summary),), is_folded=True),
        Section("Configuration", configuration(study), is_folded=True),
    ]
    return Document(
        f"Study {study.path.resolve().name}",
        text,
        tuple(summary["gaps"]),
        tuple(section for section in sections if section.blocks),
        (),
        reasons(summary),
        tone,
        numbers(summary),
        pictures[0] if pictures else None,
    )


def front_words(summary: Json) -> str:
    """The front as a sentence, because Markdown has no pictures."""
    best = sorted((row["tax"]["value"], name_of(row)) for row in summary["checkpoints"] if row["on_front"])
    name = METRIC[summary["target"]].label
    names = "; ".join(row for _, row in best)
    return f"On the front, by rising {name} and tax: {names}. No other checkpoint has as much {name} for as little tax."


def sample_blocks(study: StudyFolder, summary: Json) -> tuple[Block, ...]:
    """A few random test items, with the output of every arm's last checkpoint of the first seed."""
    last: dict[str, Point] = {}
    for point in sorted(study.points, key=lambda point: rank(point, summary["main"])):
        if point.seed == min(summary["seeds"]):
            last[point.arm] = point
    results = next(iter(last.values())).results
    places = [(corpus, row) for corpus, result in results.items() for row in range(len(result["items"]))]
    numbers = sorted(random.Random(SAMPLE_SEED).sample(range(len(places)), min(SAMPLES, len(places))))
    text = f"{len(numbers)} random test items; the last checkpoint of each arm, seed {min(summary['seeds'])}"
    return Text(text), Samples(tuple(sample([*last.values()], *places[number]) for number in numbers))


def sample(points: Sequence[Point], corpus: str, row: int) -> Sample:
    """One test item of a corpus with the outputs of all arms."""
    item = points[0].results[corpus]["items"][row]
    language = points[0].results[corpus]["target_language"]
    outputs = [
        (point.arm if point.is_trained else SYSTEM_LABELS[point.kind], point.results[corpus]["items"][row])
        for point in points
    ]
    parts = (
        ("Source", item["source_language"], item["source"]),
        ("Reference text", language, item["reference"]),
        *((name, language, own["output"]) for name, own in outputs),
    )
    cosines = ", ".join(f"{name} {own['cosine_held_out']:.3f}" for name, own in outputs)
    base = SYSTEM_LABELS[WARM_START]
    return Sample(item["id"], parts, f"Held-out cosine: {cosines}", (), base)


def hash_table(summary: Json) -> Table:
    """The hash of the weights and the settings of each row and seed."""
    rows = tuple(
        (row["arm"], str(row["step"]), str(seed), sha256, ", ".join(row["settings"]))
        for row in summary["checkpoints"]
        for seed, sha256 in zip(row["seeds"], row["sha256"], strict=True)
    )
    return Table("Weights and settings", ("Arm", "Step", "Seed", "sha256 of the weights", "Settings"), rows)


def configuration(study: StudyFolder) -> tuple[Block, ...]:
    """The study's own settings, if study.json exists."""
    return (key_value_table("Settings of this study", study.settings),) if study.settings else ()
