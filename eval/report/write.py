"""Writes a run's report: report.html, report.md and summary.json, from the run folder alone, without a model.

The top of the report names what the run does not have (`eval.report.gaps`); the parts below leave it out.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from data.cache import atomic_write_text
from data.errors import InputError
from eval.alarms import of_reward, rung
from eval.report.blocks import Block, Document, Section, Table, Text, plain_text, wrap
from eval.report.corpus_tables import corpus_tables, manifest_tables
from eval.report.gaps import gaps
from eval.report.html import html_page
from eval.report.macro import macro_table, system_averages
from eval.report.markdown import markdown
from eval.report.plots import curves
from eval.report.samples import samples
from eval.report.tables import (
    difference_tables,
    key_value_table,
    language_table,
    overall_table,
    phase_seconds,
    probe_pairs,
    probe_table,
    slice_table,
    time_table,
    training_table,
)
from eval.report.transitions import transition_table
from eval.report.verdict import verdict
from eval.run_folder import DAMAGE, RunFolder, read_run
from grpo.runtime.old_folders import update_names

Result = TypeVar("Result")


def write_report(run: Path) -> tuple[Path, Path, Path]:
    """Write the three files into a run folder and return their paths.

    Raises InputError for a damaged folder.
    """
    update_names(run)
    texts = make_or_name_damage(read_run(run), report_texts)
    paths = run / "report.html", run / "report.md", run / "summary.json"
    for path, text in zip(paths, texts, strict=True):
        atomic_write_text(path, text)
    return paths


def report_texts(contents: RunFolder) -> tuple[str, str, str]:
    """The three files' texts."""
    document = report_document(contents)
    figures = json.dumps(summary(contents), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return html_page(document), markdown(document), figures


def result_table(run: Path) -> str:
    """The results as plain text for the console: the report's own figures and verdict."""
    return make_or_name_damage(read_run(run), console_text)


def console_text(contents: RunFolder) -> str:
    """The text of `result_table`."""
    last_system = ["", *contents.main.systems][-1]
    changes = [
        pair
        for pair in probe_pairs(contents.main)
        if (pair["before"], pair["after"]) == ("untouched", last_system)
    ]
    overall = difference_tables(contents, "warm_start", "trained")[:1]
    tests = [overall_table(run, f"Results on {name}") for name, run in contents.tests.items()]
    tables = [
        *result_tables(contents)[:1],
        macro_table(contents),
        *tests,
        *overall,
        probe_table(contents.main, changes),
    ]
    words = [wrap(text) for text in (verdict(contents), *alarms(contents))]
    return "\n\n".join([*(plain_text(table) for table in tables if table is not None), *words])


def make_or_name_damage(contents: RunFolder, make: Callable[[RunFolder], Result]) -> Result:
    """`make(contents)`. Raises InputError that names the damaged part.

    A value that is missing or of the wrong kind is damage to its part. That part is found by leaving out one
    part after the other until `make` succeeds.
    """
    try:
        return make(contents)
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}"
        names = [name for name, less in without_a_part(contents) if can_make(make, less)]
        place = contents.path / names[0] if names else f"more than one part of {contents.path}"
        raise InputError(
            f"{place} is damaged ({what}); restore it, or remove it and run the evaluation again"
        ) from error


def can_make(make: Callable[[RunFolder], Any], contents: RunFolder) -> bool:
    """Whether a report can be made of `contents`."""
    try:
        make(contents)
    except DAMAGE:
        return False
    return True


def without_a_part(contents: RunFolder) -> Iterator[tuple[str, RunFolder]]:
    """(file, the run folder without that file), for every file."""
    yield "config.json", replace(contents, config={})
    yield "environment.json", replace(contents, environment={})
    yield "corpus.json", replace(contents, corpus={})
    yield "timings.json", replace(contents, timings={})
    yield "metrics.jsonl", replace(contents, sft=(), train=())
    yield "eval/comparison.json", replace(contents, comparison={})
    for name in contents.systems:
        rest = {other: system for other, system in contents.systems.items() if other != name}
        yield f"eval/{name}.json", replace(contents, systems=rest)
    for name in contents.tests:
        rest_of_tests = {other: view for other, view in contents.tests.items() if other != name}
        yield f"eval/{name}", replace(contents, tests=rest_of_tests)


def result_tables(run: RunFolder) -> list[Table]:
    """Overall, per language, per origin."""
    if not run.systems:
        return []
    return [
        overall_table(run),
        slice_table(run, "By source language", origins=False),
        slice_table(run, "By origin", origins=True),
        *filter(None, [language_table(run)]),
    ]


def competence_tables(run: RunFolder) -> list[Table | None]:
    """The probes before and after, and which questions were lost and gained."""
    pairs = probe_pairs(run)
    return [probe_table(run, pairs), transition_table(run, pairs)]


def report_document(run: RunFolder) -> Document:
    """The whole report as a document."""
    sections = (
        Section("Results", (*result_tables(run), *filter(None, [macro_table(run)]))),
        Section(f"{run.method} minus warm start", with_rows(difference_tables(run, "warm_start", "trained"))),
        *(test_section(name, view) for name, view in run.tests.items()),
        Section("General competence", with_rows(competence_tables(run.main))),
        Section("Training curves", tuple(curves(run))),
        Section("Training figures", training_tables(run)),
        Section("Samples", sample_blocks(run)),
        Section("Corpus", tuple(corpus_tables(run.corpus))),
        Section("Time and memory", with_rows([time_table(run)])),
        Section("Corpus manifest", with_rows(manifest_tables(run.corpus)), is_folded=True),
        Section(
            "Configuration", with_rows([key_value_table("Settings of this run", run.config)]), is_folded=True
        ),
        Section(
            "Environment",
            with_rows([key_value_table("Machine and versions", run.environment)]),
            is_folded=True,
        ),
    )
    return Document(
        f"Run {run.path.resolve().name}",
        verdict(run),
        gaps(run),
        tuple(section for section in sections if section.blocks),
        alarms(run),
    )


def test_section(name: str, view: RunFolder) -> Section:
    """The results on a further test set, and what training changed there."""
    tables = [
        overall_table(view, f"Results on {name}"),
        slice_table(view, "By source language", origins=False),
        *filter(None, [language_table(view)]),
        *difference_tables(view, "warm_start", "trained"),
    ]
    return Section(f"Test set {name}", with_rows(tables))


def with_rows(tables: Sequence[Table | None]) -> tuple[Block, ...]:
    """The tables that exist and have rows."""
    return tuple(table for table in tables if table is not None and table.rows)


def training_tables(run: RunFolder) -> tuple[Block, ...]:
    """Start and end of every logged metric."""
    stages = (
        ("Warm start (SFT)", run.sft),
        (run.method, run.train),
        (f"Dev set during {run.method}", run.train_dev),
    )
    return with_rows([training_table(title, rows) for title, rows in stages if rows])


def sample_blocks(run: RunFolder) -> tuple[Block, ...]:
    """Each group of samples behind a line that says what it is."""
    blocks: list[Block] = []
    for title, group in samples(run):
        blocks += [Text(f"{title}: {len(group)}"), *group]
    return tuple(blocks)


def alarms(run: RunFolder) -> tuple[str, ...]:
    """What went wrong in training, one sentence for each rule that rang."""
    stages = (("Warm start (SFT)", run.sft), (run.method, run.train))
    reward = run.config.get("reward", {})
    return tuple(
        f"{name}, {alarm.line()}." for name, rows in stages for alarm in rung(of_reward(rows, reward))
    )


def summary(run: RunFolder) -> dict[str, Any]:
    """The figures of the report for a program: full precision, no items."""
    probes = {
        name: without_items(system["probes"])
        for name, system in run.main.systems.items()
        if "probes" in system
    }
    return {
        "verdict": verdict(run),
        "alarms": alarms(run),
        "gaps": gaps(run),
        "metrics": {name: system["metrics"] for name, system in run.systems.items()},
        "signatures": {name: system["signatures"] for name, system in run.systems.items()},
        "comparison": run.comparison,
        "macro": system_averages(run),
        "tests": {
            name: {
                "metrics": {key: system["metrics"] for key, system in view.systems.items()},
                "signatures": {key: system["signatures"] for key, system in view.systems.items()},
                "comparison": view.comparison,
            }
            for name, view in run.tests.items()
        },
        "probes": probes,
        "training": {
            "sft_steps": len(run.sft),
            "train_steps": len(run.train),
            "last_sft": last_row(run.sft),
            "last_train": last_row(run.train),
        },
        "phase_seconds": {"sft": phase_seconds(run.sft), "train": phase_seconds(run.train)},
        "timings": run.timings,
    }


def without_items(probes: dict[str, Any]) -> dict[str, Any]:
    """Probe results without their item lists."""
    return {
        name: {key: value for key, value in result.items() if key != "items"}
        if isinstance(result, dict)
        else result
        for name, result in probes.items()
    }


def last_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last logged row of a stage; null where a value is no finite number."""
    row = rows[-1] if rows else {}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
