"""What a study has to evaluate: its checkpoints, each with the place of its point. No model is loaded here.

An arm's checkpoints are the snapshots of its finished run; one whose weights were removed after evaluation
has a point and is not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.documents import parse_json, parse_object, read_object
from data.errors import InputError
from grpo.engine.source import ModelSource
from grpo.study.config import ArmConfig, Study

Json = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A model folder and what its point says of it; `path` is where the point goes."""

    path: Path
    weights: Path | ModelSource
    about: Json


Asked = tuple[
    float | None, Checkpoint
]  # the share of the way to it from the untouched model; None = the checkpoint itself


def reference_checkpoints(study: Study, start: ModelSource, seeds: Sequence[int]) -> list[Checkpoint]:
    """The untouched model, once, and the warm start of each seed."""
    nothing = {"prompts": 0, "tokens": 0, "updates": 0, "seconds": 0.0}
    lowest = min(study.seeds)
    about = {
        "arm": "untouched",
        "kind": "untouched",
        "seed": lowest,
        "step": 0,
        "num_steps": 0,
        "cost": nothing,
        "settings": [],
    }
    found = [Checkpoint(study.point_path("untouched", lowest, 0), start, about)]
    for seed in seeds:
        folder = study.warm_start_folder(seed)
        if (folder / "warm_start").exists():
            cost = warm_start_cost(study, seed)
            about = about | {
                "arm": "warm_start",
                "kind": "warm_start",
                "seed": seed,
                "cost": cost,
                "settings": list(study.settings),
            }
            found.append(Checkpoint(study.point_path("warm_start", seed, 0), folder / "warm_start", about))
    return found


def warm_start_cost(study: Study, seed: int) -> Json:
    """What the warm start took, from its log: pairs and tokens seen, updates, seconds."""
    path = study.warm_start_folder(seed) / "metrics.jsonl"
    config = study.warm_start_config(seed)
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [
        parse_object(f"{path}:{number}", parse_json(line, f"{path}:{number}"))
        for number, line in enumerate(lines, 1)
    ]
    rows = [row for row in found if row.get("stage") == "sft"]
    tokens = sum(int(row["tokens"]) for row in rows)
    seconds = sum(float(row["seconds"]["step"]) for row in rows)
    return {
        "prompts": len(rows) * config.sft.batch_size,
        "tokens": tokens,
        "updates": len(rows),
        "seconds": seconds,
    }


def snapshots_of(study: Study, arm: ArmConfig, seed: int) -> list[tuple[int, Path]]:
    """(step, folder) of the snapshots that are on disk, by step."""
    folder = study.arm_folder(arm.name, seed) / "snapshots"
    return sorted((int(path.name.removeprefix("step-")), path) for path in folder.glob("step-*"))


def arm_checkpoints(study: Study, arm: ArmConfig, seed: int) -> list[Checkpoint]:
    """The snapshots of a finished arm; none while it is being trained, as a rolled back step may still be
    taken back.
    """
    if not (study.arm_folder(arm.name, seed) / "policy").exists():
        return []
    about = {
        "arm": arm.name,
        "kind": arm.kind,
        "start": arm.start,
        "seed": seed,
        "num_steps": study.arm_config(arm, seed).train.num_steps,
    }
    settings = [*study.settings, *arm.settings]
    return [
        Checkpoint(
            study.point_path(arm.name, seed, step), folder,
            about | {"step": step, "cost": read_object(folder / "cost.json"), "settings": settings},
        )
        for step, folder in snapshots_of(study, arm, seed)
    ]  # fmt: skip


def between_checkpoints(study: Study, arm: ArmConfig, seed: int) -> list[Asked]:
    """(share, checkpoint) of each point on the way from the untouched model to the arm's last; its step is
    the share in per cent.
    """
    last = arm_checkpoints(study, arm, seed)[-1:]
    name = f"{arm.name}+interp"
    changed = {"arm": name, "kind": "interpolated", "num_steps": 100}
    return [
        (
            share,
            Checkpoint(study.point_path(name, seed, step), end.weights, end.about | changed | {"step": step}),
        )
        for end in last
        for share in study.interpolate
        for step in [round(100 * share)]
    ]


def wanted(
    study: Study, start: ModelSource, arms: Sequence[ArmConfig], seeds: Sequence[int]
) -> list[tuple[Path, list[Asked]]]:
    """All that can be evaluated now, in order, grouped by the folder whose lock is held meanwhile; `start` is
    the untouched model's.
    """
    references: list[Asked] = [(None, each) for each in reference_checkpoints(study, start, seeds)]
    groups = [(study.folder / "points", references)]
    for seed in seeds:
        for arm in arms:
            ends: list[Asked] = [(None, each) for each in arm_checkpoints(study, arm, seed)]
            groups.append((study.arm_folder(arm.name, seed), ends + between_checkpoints(study, arm, seed)))
    return groups


def has_all_points(study: Study, arms: Sequence[ArmConfig], seeds: Sequence[int]) -> bool:
    """Whether nothing that could be evaluated now lacks its point."""
    return all(
        checkpoint.path.exists()
        for _, group in wanted(study, ModelSource(), arms, seeds)
        for _, checkpoint in group
    )


def chosen_arms(study: Study, text: str) -> list[ArmConfig]:
    """The arms named in `text`, comma-separated, in the study's order; all for an empty one. Raises
    InputError.
    """
    names = [study.arm(name.strip()).name for name in text.split(",") if name.strip()]
    return [arm for arm in study.arms if not names or arm.name in names]


def chosen_seeds(study: Study, text: str) -> list[int]:
    """The seeds named in `text`, all for an empty one. Raises InputError."""
    known = {str(seed): seed for seed in study.seeds}
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"--seeds {text}: {unknown[0]} is no seed of this study; its seeds are {', '.join(known)}"
        )
    return [seed for seed in study.seeds if not names or str(seed) in names]
