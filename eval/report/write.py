"""The report of a run: report.html, report.md and summary.json, made from the run folder alone, without a
model or an accelerator.

What a run does not have (no training, no evaluation) is said at the top and left out below.
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
from eval.report.blocks import Block, Document, Section, Table, Text, plain_text, wrapped
from eval.report.corpus_tables import corpus_tables, manifest_tables
from eval.report.html import html_page
from eval.report.markdown import markdown
from eval.report.plots import curves
from eval.report.samples import samples
from eval.report.tables import (
    difference_tables,
    key_value_table,
    overall_table,
    phase_seconds,
    probe_pairs,
    probe_table,
    slice_table,
    time_table,
    training_table,
)
from eval.report.verdict import verdict
from eval.run_folder import DAMAGE, OPTIONAL, SYSTEMS, RunFolder, read_run
from grpo.runtime.old_names import update_names

Made = TypeVar("Made")


def write_report(run: Path) -> tuple[Path, Path, Path]:
    """Write report.html, report.md and summary.json into a run folder; InputError if it is damaged or no run
    folder.
    """
    update_names(run)
    texts = of_every_part(read_run(run), pages)
    paths = run / "report.html", run / "report.md", run / "summary.json"
    for path, text in zip(paths, texts, strict=True):
        atomic_write_text(path, text)
    return paths


def pages(contents: RunFolder) -> tuple[str, str, str]:
    """The three files' texts."""
    document = build(contents)
    figures = json.dumps(summary(contents), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return html_page(document), markdown(document), figures


def result_table(run: Path) -> str:
    """The results as plain text for the console: the report's own figures and verdict."""
    return of_every_part(read_run(run), console)


def console(contents: RunFolder) -> str:
    """The text of `result_table`."""
    last_system = ["", *contents.systems][-1]
    changes = [
        pair
        for pair in probe_pairs(contents)
        if (pair["before"], pair["after"]) == ("untouched", last_system)
    ]
    overall = difference_tables(contents, "warm_start", "trained")[:1]
    tables = [*result_tables(contents)[:1], *overall, probe_table(contents, changes)]
    words = [wrapped(text) for text in (verdict(contents), *alarms(contents))]
    return "\n\n".join([*(plain_text(table) for table in tables if table is not None), *words])


def of_every_part(contents: RunFolder, make: Callable[[RunFolder], Made]) -> Made:
    """`make(contents)`; whatever is missing or of the wrong kind inside a part is damage to it, and the part
    is named.

    It is the one without which the report can be made.
    """
    try:
        return make(contents)
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}"
        names = [name for name, less in without_a_part(contents) if works(make, less)]
        place = contents.path / names[0] if names else f"more than one part of {contents.path}"
        raise InputError(
            f"{place} is damaged ({what}); restore it, or remove it and run the evaluation again"
        ) from error


def works(make: Callable[[RunFolder], Any], contents: RunFolder) -> bool:
    """Whether a report can be made of `contents`."""
    try:
        make(contents)
    except DAMAGE:
        return False
    return True


def without_a_part(contents: RunFolder) -> Iterator[tuple[str, RunFolder]]:
    """(file, the run folder as if that file were not there)."""
    yield "config.json", replace(contents, config={})
    yield "environment.json", replace(contents, environment={})
    yield "corpus.json", replace(contents, corpus={})
    yield "timings.json", replace(contents, timings={})
    yield "metrics.jsonl", replace(contents, sft=(), train=())
    yield "eval/comparison.json", replace(contents, comparison={})
    for name in contents.systems:
        rest = {other: system for other, system in contents.systems.items() if other != name}
        yield f"eval/{name}.json", replace(contents, systems=rest)


def result_tables(run: RunFolder) -> list[Table]:
    """Overall, per language, per origin."""
    if not run.systems:
        return []
    return [
        overall_table(run),
        slice_table(run, "By source language", origins=False),
        slice_table(run, "By origin", origins=True),
    ]


def build(run: RunFolder) -> Document:
    """The whole report as a document."""
    sections = (
        Section("Results", tuple(result_tables(run))),
        Section(f"{run.method} minus warm start", present(difference_tables(run, "warm_start", "trained"))),
        Section("General competence", present([probe_table(run, probe_pairs(run))])),
        Section("Training curves", tuple(curves(run))),
        Section("Training figures", training_tables(run)),
        Section("Samples", sample_blocks(run)),
        Section("Corpus", tuple(corpus_tables(run.corpus))),
        Section("Time and memory", present([time_table(run)])),
        Section("Corpus manifest", present(manifest_tables(run.corpus)), folded=True),
        Section("Configuration", present([key_value_table("Settings of this run", run.config)]), folded=True),
        Section(
            "Environment", present([key_value_table("Machine and versions", run.environment)]), folded=True
        ),
    )
    return Document(
        f"Run {run.path.resolve().name}",
        verdict(run),
        gaps(run),
        tuple(section for section in sections if section.blocks),
        alarms(run),
    )


def present(tables: Sequence[Table | None]) -> tuple[Block, ...]:
    """The tables that exist and have rows."""
    return tuple(table for table in tables if table is not None and table.rows)


def training_tables(run: RunFolder) -> tuple[Block, ...]:
    """Start and end of every logged metric."""
    stages = (
        ("Warm start (SFT)", run.sft),
        (run.method, run.train),
        (f"Dev set during {run.method}", run.train_dev),
    )
    return present([training_table(title, rows) for title, rows in stages if rows])


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


def gaps(run: RunFolder) -> tuple[str, ...]:
    """What this run does not have, one sentence each."""
    stages = (("warm start (SFT)", run.sft), (run.method, run.train))
    said = [
        f"No {name} metrics: this stage did not run, or its metrics are missing."
        for name, rows in stages
        if not rows
    ]
    missing = [run.label(name) for name in SYSTEMS if name not in run.systems and name not in OPTIONAL]
    if missing:
        said.append(f"Not evaluated: {', '.join(missing)}.")
    if run.pair("warm_start", "trained") is None:
        said.append(f"{run.method} was not compared with the warm start.")
    if not any("probes" in system for system in run.systems.values()):
        reasons = sorted(
            {
                system["probes_unavailable"]
                for system in run.systems.values()
                if "probes_unavailable" in system
            }
        )
        said.append(f"No general-competence probes{': ' + '; '.join(reasons) if reasons else ''}.")
    for name in ("corpus", "environment", "timings"):
        if not getattr(run, name):
            said.append(f"No {name}.json.")
    return tuple(said)


def summary(run: RunFolder) -> dict[str, Any]:
    """The figures of the report for a program: full precision, no items."""
    probes = {
        name: without_items(system["probes"]) for name, system in run.systems.items() if "probes" in system
    }
    return {
        "verdict": verdict(run),
        "alarms": alarms(run),
        "gaps": gaps(run),
        "metrics": {name: system["metrics"] for name, system in run.systems.items()},
        "signatures": {name: system["signatures"] for name, system in run.systems.items()},
        "comparison": run.comparison,
        "probes": probes,
        "training": {
            "sft_steps": len(run.sft),
            "train_steps": len(run.train),
            "last_sft": last(run.sft),
            "last_train": last(run.train),
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


def last(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last logged row of a stage; null where a value is no finite number."""
    row = rows[-1] if rows else {}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
