"""Reads a study's folder for its report: every evaluated checkpoint (points/), transfer results, judgements.

JSON only. What was not run is absent; a damaged file raises `InputError` with its name. Checkpoints are
compared item by item, so all of one seed must hold the same test items and the same texts of the tax panel.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from data.documents import read_object
from data.errors import InputError
from eval.run_folder import Json, references_of
from eval.study import layout

UNTOUCHED = "untouched"  # kinds of point that no arm trained
WARM_START = "warm_start"
AGAIN = "remove it and run the study again"
SHAPE: dict[str, type | tuple[type, ...]] = {
    "arm": str,
    "kind": str,
    "seed": int,
    "step": int,
    "num_steps": int,
    "sha256": str,
    "settings": list,
    "cost": dict,
    "cost.prompts": (int, float),
    "cost.tokens": (int, float),
    "cost.updates": (int, float),
    "cost.seconds": (int, float),
    "target": dict,
    "target.target_language": str,
    "target.signatures": dict,
    "target.metrics": dict,
    "target.items": list,
    "tax": dict,
    "tax.drift": dict,
    "tax.drift.general": dict,
    "tax.drift.general.items": list,
}
DRIFT_ITEM = {"id": str, **dict.fromkeys(("tokens", "nll", "nll_base", "kl"), (int, float))}
TEXTS = ("id", "source", "source_language", "reference", "output")
TARGET_ITEM = {
    **dict.fromkeys(TEXTS, str),
    "cosine": (int, float),
    "cosine_held_out": (int, float),
    "consistent": bool,
}
TRANSFER_KEYS = {
    "start": str,
    "examples": int,
    "seed": int,
    "target": dict,
    "target.target_language": str,
    "target.items": list,
}
SEQUENCE_KEYS = {
    "recipe": str,
    "stage": int,
    "task": str,
    "tasks": list,
    "seed": int,
    "target": dict,
    "target.target_language": str,
    "target.items": list,
}
JUDGE_KEYS = {
    **dict.fromkeys(("before", "after", "judge"), str),
    "n": int,
    **dict.fromkeys(("win", "tie", "loss"), (int, float)),
    "win_interval": list,
    "loss_interval": list,
}


class Cost(TypedDict):
    """What a checkpoint took to train from its start on: prompts seen, tokens trained on, sampled and scored, updates,
    seconds. Points of earlier versions lack the tokens sampled and scored.
    """

    prompts: float
    tokens: float
    sampled_tokens: NotRequired[float]
    scored_tokens: NotRequired[float]
    updates: float
    seconds: float


class PointFacts(TypedDict):
    """What a point says of its checkpoint, beside what was measured."""

    arm: str
    kind: str
    start: NotRequired[str]
    seed: int
    step: int
    num_steps: int
    cost: Cost
    settings: list[str]


@dataclass(frozen=True)
class Point:
    """One evaluated checkpoint.

    `target` comes from `eval.systems.evaluate_system`, `tax` from `eval.forgetting.tax.measure_tax`, `policy_kl` from
    `eval.forgetting.policy_kl.measure_policy_kl`.
    """

    path: Path
    arm: str
    kind: str
    seed: int
    step: int
    num_steps: int
    sha256: str
    settings: tuple[str, ...]
    cost: Cost
    target: Json
    tax: Json
    start: str = WARM_START
    policy_kl: Json | None = None  # none in points of earlier versions

    @property
    def is_trained(self) -> bool:
        return self.kind not in (UNTOUCHED, WARM_START)


@dataclass(frozen=True)
class StudyFolder:
    """The contents of a study's folder; `settings` is its study.json, empty where there is none."""

    path: Path
    settings: Json
    points: tuple[Point, ...]
    transfer: tuple[Json, ...]
    judgements: tuple[Json, ...]
    sequence: tuple[Json, ...] = ()


def read_study(path: Path) -> StudyFolder:
    """Every part of a study's folder. Raises InputError where nothing was evaluated or a file is damaged."""
    points = [read_point(file, path) for file in layout.point_files(path)]
    if not points:
        raise InputError(
            f"{path}: no points/ARM/seedK/step-N.json in it; name the study_dir of a study that has "
            "evaluated something"
        )
    for seed in {point.seed for point in points}:
        check_same_items([point for point in points if point.seed == seed])
    settings = path / "study.json"
    return StudyFolder(
        path,
        read_finite(settings) if settings.exists() else {},
        tuple(points),
        tuple(read_with(file, TRANSFER_KEYS) for file in sorted((path / "transfer").glob("*.json"))),
        tuple(read_with(file, JUDGE_KEYS) for file in sorted((path / "judge").glob("*.json"))),
        tuple(read_with(file, SEQUENCE_KEYS) for file in sorted((path / "sequence").glob("*.json"))),
    )


def read_point(file: Path, study: Path) -> Point:
    """Read one point file and check every value that the figures use. Raises InputError."""
    document = read_with(file, SHAPE)
    place = layout.point_file(study, document["arm"], document["seed"], document["step"])
    if place != file:
        raise InputError(
            f"{file}: holds arm {document['arm']!r}, seed {document['seed']}, step {document['step']}; it "
            f"belongs at {place}"
        )
    check_items(file, "target.items", document["target"]["items"], TARGET_ITEM)
    check_items(file, "tax.drift.general.items", document["tax"]["drift"]["general"]["items"], DRIFT_ITEM)
    if sum(item["tokens"] for item in document["tax"]["drift"]["general"]["items"]) < 1:
        raise InputError(f"{file}: tax.drift.general.items hold no token; {AGAIN}")
    if not isinstance(document.get("start", WARM_START), str):
        raise InputError(
            f"{file}: start = {document['start']!r}: not the name of a model to begin from; {AGAIN}"
        )
    policy_kl = document.get("policy_kl", {"kl_mean": 0.0})
    if not isinstance(policy_kl, dict) or not isinstance(policy_kl.get("kl_mean"), int | float):
        raise InputError(f"{file}: policy_kl has no number 'kl_mean', so the file is damaged; {AGAIN}")
    fields = {
        key: document[key]
        for key in Point.__dataclass_fields__
        if key not in ("path", "settings") and key in document
    }
    return Point(path=file, settings=tuple(map(str, document["settings"])), **fields)


def read_with(file: Path, shape: dict[str, Any]) -> Json:
    """A JSON object of finite numbers with a value of the right type at each dotted key of `shape`."""
    document = read_finite(file)
    for key, kind in shape.items():
        value: Any = document
        for part in key.split("."):
            value = value.get(part)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{file}: {key} is {'missing' if value is None else f'no {kind_name(kind)}'}, so the file is "
                f"damaged; {AGAIN}"
            )
    return document


def kind_name(kind: type | tuple[type, ...]) -> str:
    """'list' for list, 'number' for (int, float)."""
    return "number" if isinstance(kind, tuple) else kind.__name__


def read_finite(file: Path) -> Json:
    """A JSON object without NaN and infinities, which Python's reader lets through."""
    document = read_object(file)
    for key, value in numbers(document):
        if not math.isfinite(value):
            raise InputError(
                f"{file}: {key} = {value}: not a finite number, so nothing can be computed from it; {AGAIN}"
            )
    return document


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """(dotted key, number) of every float in a JSON value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from numbers(inner, f"{key}[{position}]")
    elif isinstance(value, float):
        yield key, value


def check_items(file: Path, place: str, items: list[Any], shape: dict[str, Any]) -> None:
    """InputError unless there are items and each holds what the figures need of it."""
    if not items:
        raise InputError(f"{file}: {place} is empty; {AGAIN}")
    for position, item in enumerate(items):
        for key, kind in shape.items():
            if not isinstance(item, dict) or not isinstance(item.get(key), kind):
                raise InputError(
                    f"{file}: {place}[{position}] has no {kind_name(kind)} {key!r}, so the file is damaged; "
                    f"{AGAIN}"
                )


def check_same_items(points: list[Point]) -> None:
    """InputError naming the first file whose test items or tax texts are not those of the other points of its
    seed.
    """
    parts: dict[str, Callable[[Point], list[Any]]] = {
        "test items": lambda point: [(item["id"], references_of(item)) for item in point.target["items"]],
        "tax texts": lambda point: [item["id"] for item in point.tax["drift"]["general"]["items"]],
    }
    for name, part in parts.items():
        expected = part(points[0])
        for point in points[1:]:
            if part(point) != expected:
                raise InputError(
                    f"{point.path}: other {name} than {points[0].path}; remove the older of the two and run "
                    "the study again"
                )
