"""Which points a study has to measure, and the model of each. No model is loaded here.

An arm's models are the snapshots of its finished run; one whose weights were removed after evaluation has a
point and is not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.documents import parse_json, parse_object, read_object
from data.errors import InputError
from eval.study.layout import snapshots_in
from eval.study.points import Cost, PointFacts
from eval.study.roles import INTERPOLATED
from grpo.engine.source import ModelSource
from grpo.study.config import ArmConfig, Study


@dataclass(frozen=True)
class PlannedPoint:
    """A point to measure: its file, the model, and what the point says of it.

    share  of the way from the untouched model to `model`: the weights in between are measured; 1 = `model` itself
    """

    path: Path
    model: Path | ModelSource
    facts: PointFacts
    share: float = 1.0


def reference_points(study: Study, start: ModelSource, seeds: Sequence[int]) -> list[PlannedPoint]:
    """The untouched model, once, and the warm start of each seed."""
    lowest = min(study.seeds)
    facts = PointFacts(
        arm="untouched",
        kind="untouched",
        seed=lowest,
        step=0,
        num_steps=0,
        cost=Cost(prompts=0, tokens=0, sampled_tokens=0, scored_tokens=0, updates=0, seconds=0.0),
        settings=[],
    )
    points = [PlannedPoint(study.point_path("untouched", lowest, 0), start, facts)]
    for seed in seeds:
        folder = study.warm_start_folder(seed) / "warm_start"
        if folder.exists():
            facts = PointFacts(
                arm="warm_start",
                kind="warm_start",
                seed=seed,
                step=0,
                num_steps=0,
                cost=warm_start_cost(study, seed),
                settings=list(study.settings),
            )
            points.append(PlannedPoint(study.point_path("warm_start", seed, 0), folder, facts))
    return points


def warm_start_cost(study: Study, seed: int) -> Cost:
    """What the warm start took, from its log: pairs and tokens seen, updates, seconds."""
    path = study.warm_start_folder(seed) / "metrics.jsonl"
    config = study.warm_start_config(seed)
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [
        parse_object(f"{path}:{number}", parse_json(line, f"{path}:{number}"))
        for number, line in enumerate(lines, 1)
    ]
    rows = [row for row in found if row.get("stage") == "sft"]
    tokens = round(sum(row["tokens"] + row.get("anchor_tokens", 0) for row in rows))
    seconds = sum(float(row["seconds"]["step"]) for row in rows)
    return Cost(
        prompts=len(rows) * config.sft.batch_size,
        tokens=tokens,
        sampled_tokens=0,
        scored_tokens=0,
        updates=len(rows),
        seconds=seconds,
    )


def arm_points(study: Study, arm: ArmConfig, seed: int) -> list[PlannedPoint]:
    """A point for each snapshot of a finished arm; none while it is trained, as a tax guard may take steps back."""
    if not (study.arm_folder(arm.name, seed) / "policy").exists():
        return []
    num_steps = study.arm_config(arm, seed).train.num_steps
    settings = [*study.settings, *arm.settings]
    points = []
    for step, folder in snapshots_in(study.arm_folder(arm.name, seed)):
        cost: Any = read_object(folder / "cost.json")
        facts = PointFacts(
            arm=arm.name,
            kind=arm.kind,
            start=arm.start,
            seed=seed,
            num_steps=num_steps,
            step=step,
            cost=cost,
            settings=settings,
        )
        points.append(PlannedPoint(study.point_path(arm.name, seed, step), folder, facts))
    return points


def interpolated_points(study: Study, arm: ArmConfig, end: PlannedPoint) -> list[PlannedPoint]:
    """The points between the untouched model and `end`, the arm's last; their step is the share in per cent."""
    name = f"{arm.name}+interp"
    points = []
    for share in study.interpolate:
        step = round(100 * share)
        facts = PointFacts(**{**end.facts, "arm": name, "kind": INTERPOLATED, "num_steps": 100, "step": step})
        points.append(PlannedPoint(study.point_path(name, facts["seed"], step), end.model, facts, share))
    return points


def planned_points(
    study: Study, start: ModelSource, arms: Sequence[ArmConfig], seeds: Sequence[int]
) -> list[tuple[Path, list[PlannedPoint]]]:
    """All that can be evaluated now, in order, grouped by the folder that is locked meanwhile; `start` is the
    untouched model.
    """
    groups = [(study.folder / "points", reference_points(study, start, seeds))]
    for seed in seeds:
        for arm in arms:
            points = arm_points(study, arm, seed)
            if points:
                points += interpolated_points(study, arm, points[-1])
            groups.append((study.arm_folder(arm.name, seed), points))
    return groups


def has_all_points(study: Study, arms: Sequence[ArmConfig], seeds: Sequence[int]) -> bool:
    """Whether nothing that could be evaluated now lacks its point."""
    groups = planned_points(study, ModelSource(), arms, seeds)
    return all(point.path.exists() for _, points in groups for point in points)


def chosen_arms(study: Study, text: str) -> list[ArmConfig]:
    """The arms named in `text`, comma-separated, in the study's order; all for an empty one. Raises
    InputError.
    """
    names = [study.arm(name.strip()).name for name in text.split(",") if name.strip()]
    return [arm for arm in study.arms if not names or arm.name in names]


def chosen_seeds(study: Study, text: str) -> list[int]:
    """The seeds named in `text`, all for an empty one. Raises InputError."""
    seed_of = {str(seed): seed for seed in study.seeds}
    names = [name.strip() for name in text.split(",") if name.strip()]
    if wrong_names := [name for name in names if name not in seed_of]:
        raise InputError(
            f"--seeds {text}: {wrong_names[0]} is no seed of this study; its seeds are {', '.join(seed_of)}"
        )
    return [seed for seed in study.seeds if not names or str(seed) in names]
