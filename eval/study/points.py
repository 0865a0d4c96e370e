"""Reads a study's folder for its report: every evaluated checkpoint (points/), transfer results, judgements.

JSON only. What was not run is absent; a damaged file raises `InputError` with its name. Checkpoints are
compared item by item, so all of one seed must hold the same test items and the same texts of the tax panel.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from data.documents import read_object
from data.errors import InputError
from eval.run_folder import Json, named_damage, references_of, results_by_corpus
from eval.study import layout

UNTOUCHED = "untouched"  # kinds of point that no arm trained
WARM_START = "warm_start"
AGAIN = "remove it and run the study again"
Shape = Mapping[str, type | tuple[type, ...]]
SHAPE: Shape = {
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
    "tax": dict,
    "tax.drift": dict,
    "tax.drift.general": dict,
    "tax.drift.general.items": list,
}
RESULT: Shape = {"target_language": str, "items": list}  # of a corpus
POINT_RESULT: Shape = {**RESULT, "signatures": dict, "metrics": dict}
DRIFT_ITEM: Shape = {"id": str, **dict.fromkeys(("tokens", "nll", "nll_base", "kl"), (int, float))}
TEXTS = ("id", "source", "source_language", "reference", "output")
TARGET_ITEM: Shape = {
    **dict.fromkeys(TEXTS, str),
    "cosine": (int, float),
    "cosine_held_out": (int, float),
    "consistent": bool,
}
TRANSFER_KEYS: Shape = {"start": str, "examples": int, "seed": int, "target": dict}
SEQUENCE_KEYS: Shape = {"recipe": str, "stage": int, "task": str, "tasks": list, "seed": int, "target": dict}
JUDGE_KEYS: Shape = {
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

    `target` comes from `eval.macro.macro_result`, `tax` from `eval.forgetting.tax.measure_tax`, `policy_kl` from
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
    def results(self) -> dict[str, Json]:
        """The result on each of several corpora by name; that of a study on one corpus has the name ""."""
        return results_by_corpus(self.target)

    @property
    def texts(self) -> list[Json]:
        """The general texts of its drift, with the nats of each."""
        items: list[Json] = self.tax["drift"]["general"]["items"]
        return items

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
    sequence = tuple(read_result(file, SEQUENCE_KEYS) for file in sorted((path / "sequence").glob("*.json")))
    if not (points or sequence):
        raise InputError(
            f"{path}: no points/ARM/seedK/step-N.json in it; name the study_dir of a study that has evaluated something"
        )
    check_same("test items", ((one.seed, one.path, identities(one.target)) for one in points))
    check_same("tax texts", ((one.seed, one.path, [item["id"] for item in one.texts]) for one in points))
    settings = path / "study.json"
    return StudyFolder(
        path,
        read_finite(settings) if settings.exists() else {},
        tuple(points),
        tuple(read_result(file, TRANSFER_KEYS) for file in sorted((path / "transfer").glob("*.json"))),
        tuple(read_with(file, JUDGE_KEYS) for file in sorted((path / "judge").glob("*.json"))),
        sequence,
    )


def read_point(file: Path, study: Path) -> Point:
    """Read one point file and check every value that the figures use. Raises InputError."""
    document = read_result(file, SHAPE, POINT_RESULT)
    place = layout.point_file(study, document["arm"], document["seed"], document["step"])
    if place != file:
        raise InputError(
            f"{file}: holds arm {document['arm']!r}, seed {document['seed']}, step {document['step']}; it belongs at {place}"
        )
    texts = document["tax"]["drift"]["general"]["items"]
    check_items(file, "tax.drift.general.items", texts, DRIFT_ITEM)
    if sum(item["tokens"] for item in texts) < 1:
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


def read_result(file: Path, shape: Shape, result: Shape = RESULT) -> Json:
    """`read_with` of a document whose target is a result on one corpus or on several, each of the shape `result`."""
    document = read_with(file, shape)
    for name, one in results_by_corpus(document["target"]).items():
        place = f"target.corpora.{name}" if name else "target"
        check_shape(file, one, result, f"{place}.")
        check_items(file, f"{place}.items", one["items"], TARGET_ITEM)
    return document


def read_with(file: Path, shape: Shape) -> Json:
    """A JSON object of finite numbers with a value of the right type at each dotted key of `shape`."""
    document = read_finite(file)
    check_shape(file, document, shape)
    return document


def check_shape(file: Path, document: Any, shape: Shape, place: str = "") -> None:
    """InputError unless there is a value of the right type at each dotted key, which the document has at `place`."""
    for key, kind in shape.items():
        value: Any = document
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{file}: {place}{key} is {'missing' if value is None else f'no {kind_name(kind)}'}, so the file is "
                f"damaged; {AGAIN}"
            )


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


def check_items(file: Path, place: str, items: list[Any], shape: Shape) -> None:
    """InputError unless there are items and each holds what the figures need of it."""
    if not items:
        raise InputError(f"{file}: {place} is empty; {AGAIN}")
    for position, item in enumerate(items):
        for key, kind in shape.items():
            if not isinstance(item, dict) or not isinstance(item.get(key), kind):
                raise InputError(
                    f"{file}: {place}[{position}] has no {kind_name(kind)} {key!r}, so the file is damaged; {AGAIN}"
                )


def compared_probes(before: Point, after: Point, compare: Callable[[Json, Json], Json]) -> Json:
    """`compare` of the probes of two points. Raises InputError where they cannot be compared."""
    problem = f"{after.path}: tax.probes cannot be compared with those of {before.path}"
    with named_damage(problem, "remove the file and run the study again"):
        return compare(before.tax["probes"], after.tax["probes"])


def identities(target: Json) -> list[Any]:
    """What makes the test items of two results the same: corpus, id and reference texts."""
    results = results_by_corpus(target)
    return [(name, item["id"], references_of(item)) for name, one in results.items() for item in one["items"]]


def check_same(what: str, files: Iterable[tuple[Hashable, object, list[Any]]]) -> None:
    """(group, file, content): InputError naming a file whose content is not that of the first of its group; `what` it is."""
    firsts: dict[Hashable, tuple[object, list[Any]]] = {}
    for group, name, content in files:
        first_name, first = firsts.setdefault(group, (name, content))
        if content != first:
            raise InputError(
                f"{name}: other {what} than {first_name}; remove the older of the two and run the study again"
            )
