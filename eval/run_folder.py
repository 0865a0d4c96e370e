"""Reads a run folder for the report: plain JSON in, no model, no tensors.

A part that was never written (no GRPO stage, no evaluation) is simply absent; a part that is there but damaged is a mistake
somebody must know about, and raises `InputError` with file and line.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError

SYSTEMS = ("untouched", "translation_memory", "warm_start", "grpo")
SYSTEM_KEYS = ("system", "target_language", "signatures", "metrics", "items")
Json = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """The contents of one run folder; what is not there is empty. `systems` is in the order of `SYSTEMS`."""

    path: Path
    config: Json
    environment: Json
    corpus: Json
    timings: Json
    comparison: Json
    systems: Mapping[str, Json]
    sft: tuple[Json, ...]
    grpo: tuple[Json, ...]

    def pair(self, before: str, after: str) -> Json | None:
        """The comparison after - before, if it was made."""
        return next(
            (pair for pair in self.comparison.get("pairs", ()) if (pair["before"], pair["after"]) == (before, after)),
            None,
        )


def read_run(path: Path) -> RunFolder:
    """Read every part of a run folder; InputError if it is no run folder or a part of it is damaged."""
    if not path.is_dir():
        raise InputError(f"{path}: no such run folder; give the folder that a run has written (it holds config.json)")
    if not (path / "config.json").exists():
        raise InputError(f"{path}: not a run folder, it has no config.json; give the folder that a run has written")
    metrics = read_metrics(path / "metrics.jsonl")
    systems = {name: read_object(path / "eval" / f"{name}.json", SYSTEM_KEYS) for name in SYSTEMS}
    return RunFolder(
        path=path,
        config=read_object(path / "config.json"),
        environment=read_object(path / "environment.json"),
        corpus=read_object(path / "corpus.json"),
        timings=read_object(path / "timings.json"),
        comparison=read_object(path / "eval" / "comparison.json", ("pairs", "resamples")),
        systems={name: system for name, system in systems.items() if system},
        sft=tuple(row for row in metrics if row["stage"] == "sft"),
        grpo=tuple(row for row in metrics if row["stage"] == "grpo"),
    )


def read_object(path: Path, keys: tuple[str, ...] = ()) -> Json:
    """A JSON object with at least `keys`; empty if the file does not exist."""
    if not path.exists():
        return {}
    document = parse(path.read_bytes(), path, 0)
    missing = [key for key in keys if key not in document]
    if missing:
        raise InputError(
            f"{path}: key {missing[0]!r} is missing, so the file is damaged; delete it and run the evaluation again"
        )
    return document


def read_metrics(path: Path) -> list[Json]:
    """The rows of metrics.jsonl in order of step; of a step that a resumed run wrote again the last row counts."""
    if not path.exists():
        return []
    rows: dict[tuple[str, int], Json] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            row = parse(line, path, number)
            if not isinstance(row.get("stage"), str) or not isinstance(row.get("step"), int):
                raise InputError(
                    f"{path}:{number}: a row needs a text 'stage' and a whole number 'step'; remove this line"
                )
            rows[row["stage"], row["step"]] = row
    return [rows[key] for key in sorted(rows)]


def parse(content: bytes, path: Path, line: int) -> Json:
    """One JSON object; InputError naming file and line if it is none."""
    where = f"{path}:{line}" if line else str(path)
    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: damaged, not readable as JSON ({error}); restore the file or remove it") from error
    if not isinstance(document, dict):
        raise InputError(
            f"{where}: expected a JSON object, found {type(document).__name__}; restore the file or remove it"
        )
    return document
