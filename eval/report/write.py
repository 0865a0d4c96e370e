"""Writes a run's report: report.html, report.md and summary.json, from the run folder alone, without a model.

The top of the report names what the run does not have (`eval.report.gaps`); the parts below leave it out.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from data.cache import atomic_write_text
from data.errors import InputError
from eval.report.blocks import plain_text, with_rows, wrap
from eval.report.document import alarms, report_document
from eval.report.html import html_page
from eval.report.macro import macro_table
from eval.report.markdown import markdown
from eval.report.summary import summary
from eval.report.tables import change_table, overall_table, probe_table
from eval.report.verdict import verdict
from eval.run_folder import ADDED, DAMAGE, RunFolder, read_run
from grpo.runtime.old_folders import update_names

FILES = ("config", "environment", "corpus", "timings")  # of a run folder, each the name of its part too
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
    last_system = ["", *contents.main.own_systems][-1]
    tables = [
        overall_table(contents),
        macro_table(contents),
        *(overall_table(run, f"Results on {name}") for name, run in contents.tests.items()),
        change_table(contents, "warm_start", "trained"),
        probe_table(contents.main, last_system),
    ]
    words = [wrap(text) for text in (verdict(contents), *alarms(contents))]
    return "\n\n".join([*map(plain_text, with_rows(tables)), *words])


def make_or_name_damage(contents: RunFolder, make: Callable[[RunFolder], Result]) -> Result:
    """`make(contents)`. Raises InputError that names the damaged part.

    A value that is missing or of the wrong kind is damage to its part. That part is found by leaving out one
    part after the other until `make` succeeds. A refusal that has nothing to do with them stays as it is.
    """
    try:
        return make(contents)
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}"
        names = [name for name, less in without_a_part(contents) if can_make(make, less)]
        if not names and isinstance(error, InputError):
            raise
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
    parts: dict[str, dict[str, Any]] = {f"{name}.json": {name: {}} for name in FILES}
    parts["metrics.jsonl"] = dict.fromkeys(("sft", "train", "train_dev", "tax"), ())
    for file, empty in parts.items():
        views = {name: replace(view, **empty) for name, view in contents.tests.items()}
        yield file, replace(contents, tests=views, **empty)
    yield "eval/comparison.json", replace(contents, comparison={})
    for name in contents.systems:
        rest = {other: system for other, system in contents.systems.items() if other != name}
        place = ADDED if name in contents.added_systems else "eval"
        yield f"{place}/{name}.json", replace(contents, systems=rest)
    for name in contents.tests:
        rest_of_tests = {other: view for other, view in contents.tests.items() if other != name}
        yield f"eval/{name}", replace(contents, tests=rest_of_tests)
