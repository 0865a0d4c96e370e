"""The best of each prompt's own samples (rejection sampling), and their file, best_of_group.jsonl.

Its first line says what the samples depend on; every further one is a whole step, so that a kill leaves
nothing half done: {"step", "seconds", "tokens", "chosen": [{"id", "completion_ids", "reward", "group_mean"}, ...]}.
Runs that sample alike can share the file; one made otherwise is refused. Not here: who samples and who learns
(grpo/stages/imitation.py).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.cache import atomic_write_text, name_disk_errors
from data.documents import parse_json, parse_object, read_bytes
from data.errors import InputError
from data.examples import Example
from grpo.advantage import group_spread
from grpo.config import Config
from grpo.old_names import ADDED, current_keys
from grpo.records import Rollout

FILE = "best_of_group.jsonl"
Header = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """The best sample of the group of prompt `id`, its end token included."""

    id: str
    completion_ids: tuple[int, ...]
    reward: float
    group_mean: float


@dataclass(frozen=True)
class SampledStep:
    """The best samples of one step, at most one for each prompt. `seconds`: of sampling and rewarding; `tokens` of all
    samples, 0 in a file of an earlier version.
    """

    step: int
    seconds: float
    chosen: tuple[Sample, ...]
    tokens: int = 0


def best_of_groups(
    ids: Sequence[str], rollout: Rollout, texts: Sequence[str], rewards: Tensor, floor: float
) -> tuple[Sample, ...]:
    """The best completion of each of P groups, the first of equals; rewards (P, G), N texts.

    A group that spreads no more than `floor` has no best. A completion that is empty, was cut off or has no
    reward is never the best.
    """
    rewards = rewards.double().cpu()
    usable = rollout.finished.cpu() & torch.tensor([bool(text) for text in texts])
    scores = rewards.masked_fill(rewards.isnan() | ~usable.view_as(rewards), -torch.inf)
    spread = group_spread(rewards) > floor
    best = scores.argmax(dim=1)
    means = rewards.nanmean(dim=1)
    completions = rollout.completions()
    return tuple(
        Sample(ids[p], tuple(completions[p * rollout.group_size + g]), float(scores[p, g]), float(means[p]))
        for p, g in enumerate(best.tolist())
        if spread[p] and scores[p, g] > -torch.inf
    )


def header_of(config: Config, model_hash: str, examples: Sequence[Example]) -> Header:
    """What the samples of a run are a function of, by name."""
    prompts = hashlib.sha256()
    for example in examples:
        prompts.update(json.dumps([example.id, example.source, example.references, example.task]).encode())
    facts = {
        "model": model_hash,
        "prompts": prompts.hexdigest(),
        "language": config.data.completion_language,
        "seed": config.seed,
    }
    facts |= {f"rollout.{name}": value for name, value in asdict(config.rollout).items()}
    newer = ("encoders", "metrics")  # tables that files of earlier versions lack
    reward = {name: value for name, value in asdict(config.reward).items() if name not in newer or value}
    facts |= {f"reward.{name}": value for name, value in reward.items()}
    facts["engine.fast_decode"] = config.engine.fast_decode
    facts["advantage.std_floor"] = config.advantage.std_floor
    if config.train.refresh_every:  # then they depend on the training too
        for name in ("train", "anchor", "tax"):
            facts |= {f"{name}.{key}": value for key, value in asdict(getattr(config, name)).items()}
    return dict(json.loads(json.dumps(facts)))


def begin(path: Path, header: Header) -> None:
    """A file without steps."""
    atomic_write_text(path, json.dumps(header, ensure_ascii=False) + "\n")


def append(path: Path, step: SampledStep) -> None:
    """Add a step, and wait until it is on disk."""
    with name_disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(step), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def steps_in(path: Path, header: Header) -> list[SampledStep]:
    """The whole steps of a file; a last line that a kill left unfinished is cut off. A file without a first
    line is begun anew.

    What is also linked into another run's folder becomes this one's own, so that it can grow.
    Raises InputError for the samples of another run, and for a line that no run has written.
    """
    content = read_bytes(path) if path.exists() else b""
    *lines, rest = content.split(b"\n")
    if not lines:
        begin(path, header)
        return []
    _check_header(path, parse_object(f"{path}:1", parse_json(lines[0], f"{path}:1")), header)
    steps = [_step(line, number, f"{path}:{number + 2}") for number, line in enumerate(lines[1:])]
    if rest or path.stat().st_nlink > 1:
        atomic_write_text(path, "".join(f"{line.decode('utf-8')}\n" for line in lines))
    return steps


def _check_header(path: Path, old: Mapping[str, Any], now: Header) -> None:
    before = {name: value for name, value in ADDED.items() if name in now} | current_keys(old)
    optim = before.get("train.optim")
    if isinstance(optim, dict):  # a table, which may lack settings of its own
        before["train.optim"] = {
            key: ADDED[f"train.optim.{key}"] for key in now["train.optim"] if f"train.optim.{key}" in ADDED
        } | optim
    for name in {**now, **before}:
        if before.get(name) != now.get(name):
            raise InputError(
                f"{path}: these samples were drawn with {name} = {before.get(name)!r}, not {now.get(name)!r}; "
                "restore that value, or remove the file to sample anew"
            )


def _step(line: bytes, number: int, place: str) -> SampledStep:
    """Step `number`, counted from 0, as it was written. Raises InputError for anything else."""
    row = parse_object(place, parse_json(line, place))
    try:
        chosen = tuple(
            Sample(
                str(one["id"]),
                tuple(map(int, one["completion_ids"])),
                float(one["reward"]),
                float(one["group_mean"]),
            )
            for one in row["chosen"]
        )
        step = SampledStep(int(row["step"]), float(row["seconds"]), chosen, int(row.get("tokens", 0)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{place}: not a step of samples ({error}); remove the file to sample anew"
        ) from error
    if step.step != number or not all(one.completion_ids for one in chosen):
        raise InputError(
            f"{place}: step {number} with its completions belongs here; remove the file to sample anew"
        )
    return step
