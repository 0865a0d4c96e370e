"""Reads a run folder for the report: plain JSON in, no model, no tensors.

A part that was never written (no GRPO stage, no evaluation) is simply absent; a part that is there but
damaged is a mistake somebody must know about, and raises `InputError` with file and line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.documents import parse_json, parse_object, read_bytes, read_object
from data.errors import InputError

SYSTEMS = ("untouched", "translation_memory", "warm_start", "grpo_best", "grpo")
OPTIONAL = ("grpo_best",)  # only where an earlier step did better on the dev set than the last
SYSTEM_KEYS = ("system", "target_language", "signatures", "metrics", "items")
ITEM_KEYS = (
    "id",
    "origin",
    "source_language",
    "source",
    "output",
    "cosine",
)  # that the samples of a report show
STAGES = {
    "grpo": "grpo",
    "sft": "strong_sft",
    "best_of_group": "best_of_group",
}  # train.method -> its stage in the log
DAMAGE = (
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    ValueError,
    ArithmeticError,
)  # what a value of the wrong kind has raised
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
    grpo_dev: tuple[Json, ...]
    tax: tuple[Json, ...]

    @property
    def trained(self) -> str:
        """What the stage after the warm start is called: GRPO, or the imitation that ran in its place."""
        return METHOD_LABELS[method_of(self.config)]

    @property
    def stage(self) -> str:
        """The name of that stage in the log."""
        return STAGES[method_of(self.config)]

    def label(self, system: str) -> str:
        """The name of a system of this run; what GRPO's files hold is the work of another method where that
        one ran.
        """
        return SYSTEM_LABELS[system].replace(METHOD_LABELS["grpo"], self.trained)

    def pair(self, before: str, after: str) -> Json | None:
        """The comparison after - before, if it was made."""
        return next(
            (
                pair
                for pair in self.comparison.get("pairs", ())
                if (pair["before"], pair["after"]) == (before, after)
            ),
            None,
        )


def read_run(path: Path) -> RunFolder:
    """Read every part of a run folder; InputError if it is no run folder or a part of it is damaged."""
    if not path.is_dir():
        raise InputError(
            f"{path}: no such run folder; give the folder that a run has written (it holds config.json)"
        )
    if not (path / "config.json").exists():
        raise InputError(
            f"{path}: not a run folder, it has no config.json; give the folder that a run has written"
        )
    metrics = read_metrics(path / "metrics.jsonl")
    config = read_part(path / "config.json")
    stage = STAGES[method_of(config)]
    systems = {name: read_system(path / "eval" / f"{name}.json") for name in SYSTEMS}
    return RunFolder(
        path=path,
        config=config,
        environment=read_part(path / "environment.json"),
        corpus=read_part(path / "corpus.json"),
        timings=read_part(path / "timings.json"),
        comparison=read_part(path / "eval" / "comparison.json", ("pairs", "resamples")),
        systems={name: system for name, system in systems.items() if system},
        sft=tuple(row for row in metrics if row["stage"] == "sft"),
        grpo=tuple(row for row in metrics if row["stage"] == stage),
        grpo_dev=tuple(row for row in metrics if row["stage"] == f"{stage}_dev"),
        tax=tuple(row for row in metrics if row["stage"].endswith("_tax")),
    )


def method_of(config: Json) -> str:
    """train.method; runs from before there was a choice are GRPO."""
    train = config.get("train")
    method = train.get("method") if isinstance(train, dict) else None
    return method if method in STAGES else "grpo"


def read_part(path: Path, keys: tuple[str, ...] = ()) -> Json:
    """A JSON object with at least `keys`; empty if the file does not exist."""
    if not path.exists():
        return {}
    document = read_object(path)
    missing = [key for key in keys if key not in document]
    if missing:
        raise InputError(
            f"{path}: key {missing[0]!r} is missing, so the file is damaged; delete it and run the evaluation again"
        )
    return document


def read_system(path: Path) -> Json:
    """The result of one system, each of its items with ITEM_KEYS; empty if the file does not exist."""
    document = read_part(path, SYSTEM_KEYS)
    items = document.get("items")
    for place, item in enumerate(items if isinstance(items, list) else ()):
        missing = [key for key in ITEM_KEYS if not isinstance(item, dict) or key not in item]
        if missing:
            raise InputError(
                f"{path}: items[{place}] has no {missing[0]!r}, so the file is damaged; delete it and run the evaluation again"
            )
    return document


def references_of(item: Json) -> list[str]:
    """Every reference text of a test item; one from before they were all kept has its first."""
    references: list[str] = item.get("references") or [item["reference"]]
    return references


def questions_of(probes: Json) -> list[str]:
    """The sets of questions that a result of the probes holds; an older one has fewer."""
    return [name for name, result in probes.items() if isinstance(result, dict) and "accuracy" in result]


def read_metrics(path: Path) -> list[Json]:
    """The rows of metrics.jsonl in order of step; of a step that a resumed run wrote again the last row
    counts.
    """
    if not path.exists():
        return []
    rows: dict[tuple[str, int], Json] = {}
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            where = f"{path}:{number}"
            row = parse_object(where, parse_json(line, where))
            if not isinstance(row.get("stage"), str) or not isinstance(row.get("step"), int):
                raise InputError(
                    f"{where}: a row needs a text 'stage' and a whole number 'step'; remove this line"
                )
            rows[row["stage"], row["step"]] = row
    return [rows[key] for key in sorted(rows)]


SYSTEM_LABELS = {
    "untouched": "Untouched model",
    "translation_memory": "Translation memory",
    "warm_start": "Warm start (SFT)",
    "grpo_best": "GRPO, best on dev",
    "grpo": "GRPO",
}


METHOD_LABELS = {
    "grpo": "GRPO",
    "sft": "Strong SFT",
    "best_of_group": "Self-SFT (best of group)",
}  # train.method
