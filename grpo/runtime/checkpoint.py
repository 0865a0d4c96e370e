"""Save and restore the state of a training loop exactly: parameters, optimiser moments, counters, and the step it
is in the middle of.

All other state is a function of (seed, step): batches, sampling and the learning rate need no saving. A
checkpoint is a folder of safetensors and JSON, written beside its place and renamed, so a crash leaves the
one before it; its checksums, written last, tell later whether it is still what was written. One that is not
is set aside, and the one before it is used.

A model that is whole in each process is written by the first one. Of a sharded model each process writes its
share (grpo/runtime/shares.py). Either can be read by any number of processes, sharded or not.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.cache import FULL, atomic_write_text, remove_folder, remove_unfinished, set_aside
from data.checksums import damage, write_checksums
from data.errors import InputError
from grpo.engine.halves import ExactParameters, load_exact
from grpo.engine.tensor_file import Header, save_file
from grpo.engine.weight_files import ModelTensors
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.shared_folder import shared_folder
from grpo.runtime.shares import SHARES, SavedTensors, has_shares, in_batches, write_shares

PARAMETERS = "parameters.safetensors"
MOMENTS = "moments.safetensors"
STEP = "step.safetensors"
STATE = "state.json"
# of a checkpoint, with STEP in the middle of a step; files of shares instead of the first two where a model is sharded
NEEDED = (PARAMETERS, MOMENTS, STATE)
BEST = "best.json"
REWARD = "reward"  # what chooses the best checkpoint if nothing else is said
NAME = re.compile(r"step-(\d{6,})(?:\.(\d+))?")  # step, or step.update in the middle of one
READ_BYTES = 256 << 20  # of parameters at a time
COUNTERS = ("update", "skipped", "skipped_in_a_row")  # of the optimiser


def path_of(folder: Path, state: LoopState) -> Path:
    """Where the checkpoint of `state` is, or would be."""
    return folder / (f"step-{state.step:06d}" + (f".{state.update}" if state.update else ""))


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints, whole or damaged since, oldest first."""
    found = {path: match for path in folder.glob("step-*") if (match := NAME.fullmatch(path.name))}
    return sorted(found, key=lambda path: (int(found[path][1]), int(found[path][2] or 0)))


def save(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    state: LoopState,
    *,
    keep: int,
    best: float | None = None,
    best_by: str = REWARD,
    world: World = SINGLE_PROCESS,
) -> Path:
    """Write a checkpoint atomically, then delete all but the newest `keep` and the best; returns its path. Every
    process calls this.

    `best` is the score `best_by` of these weights where they are the best so far. Raises InputError where there is no
    room for the checkpoint.
    """
    path = path_of(folder, state)
    parameters = ExactParameters(model)
    moments = moments_of(optimizer)
    # what the first process writes
    alone: dict[str, Mapping[str, Tensor]] = {PARAMETERS: parameters, MOMENTS: moments}
    together: dict[str, Tensor] = {}
    if has_shares(model.parameters()):
        together = {**parameters, **moments}
        alone = {}
    if state.tensors:
        alone[STEP] = state.tensors
    try:
        with shared_folder(path, world) as work:
            fingerprints = write_shares(work, together, world) if together else {}
            if world.is_first:
                if best is not None:
                    # before the checkpoint itself: a run that is killed in between makes it again
                    mark_best(folder, path, best, best_by)
                for name, content in alone.items():
                    save_file(content, work / name)
                (work / STATE).write_text(json.dumps(facts_of(state, optimizer)), encoding="utf-8")
                write_checksums(work, fingerprints)
    except OSError as error:
        if error.errno in FULL:
            tensors = (*parameters.values(), *moments.values(), *state.tensors.values())
            raise InputError(_no_room(path, sum(tensor.nbytes for tensor in tensors), error)) from error
        raise
    if world.is_first:
        _prune(folder, keep)
    return path


def _prune(folder: Path, keep: int) -> None:
    keeping = {*checkpoints(folder)[-keep:], folder / (_best_mark(folder) or {"name": ""})["name"]}
    for old in checkpoints(folder):
        if old not in keeping:
            remove_folder(old)


def moments_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments by "kind:name of the parameter"."""
    return {
        f"{kind}:{name}": value
        for name, values in optimizer.moments().items()
        for kind, value in values.items()
    }


def facts_of(state: LoopState, optimizer: Optimizer) -> dict[str, Any]:
    """Everything that is no tensor, as `restore` reads it."""
    scalars = {
        "step": state.step,
        "update": state.update,
        "kl_coef": state.kl_coef,
        "partial": dict(state.partial),
        "tax": dict(state.tax),
    }
    counters = {name: getattr(optimizer, name) for name in COUNTERS}
    return {"state": scalars, "optimizer": counters, "moments": optimizer.moments_kind}


def _no_room(path: Path, needed: int, error: OSError) -> str:
    earlier = next(
        (f"{old.name} is intact" for old in reversed(checkpoints(path.parent)) if not damage_of(old)),
        "none is before it",
    )
    return (
        f"{path}: this checkpoint could not be written ({error.strerror}; it needs {needed / 1e6:,.1f} MB, "
        f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free); {earlier}; free space and run the same command"
    )


def mark_best(folder: Path, path: Path, score: float, by: str = REWARD) -> None:
    """Say that `path` has the best weights so far; it is kept however old it gets."""
    atomic_write_text(folder / BEST, json.dumps({"name": path.name, "score": score, "by": by}))


def _best_mark(folder: Path) -> dict | None:
    return json.loads((folder / BEST).read_bytes()) if (folder / BEST).exists() else None


def best(folder: Path, by: str = REWARD) -> tuple[Path, float] | None:
    """The best checkpoint by a score, and that score; None before there is one. Earlier versions knew the reward only."""
    mark = _best_mark(folder)
    if not mark or mark.get("by", REWARD) != by or not (folder / mark["name"]).is_dir():
        return None
    return folder / mark["name"], mark["score"]


def damage_of(path: Path) -> str:
    """What is wrong with a checkpoint, in words; "" where it is what was written."""
    return damage(path, (STATE,) if any(path.glob(SHARES)) else NEEDED)


def newest(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; damaged ones are set aside as `damaged-...` and spoken of. None = there is
    nothing to go on from.
    """
    remove_unfinished(folder)
    faults = {}
    intact = None
    for path in reversed(checkpoints(folder)):
        cause = damage_of(path)
        if not cause:
            intact = path
            break
        faults[path] = cause
    for path, cause in faults.items():
        instead = (
            f"going on from {intact.name}" if intact else "nothing else is saved, so this stage starts anew"
        )
        say(f"{path}: {cause}; it is set aside as {set_aside(path).name}, {instead}")
    _check_best(folder, say)
    return intact


def _check_best(folder: Path, say: Callable[[str], None]) -> None:
    """Set aside what would be taken for the best later and is damaged."""
    try:
        found = best(folder, (_best_mark(folder) or {}).get("by", REWARD))
        path, cause = (found[0], damage_of(found[0])) if found else (folder / BEST, "")
    except (ValueError, TypeError, KeyError):
        path = folder / BEST
        cause = "cannot be read"
    if cause:
        say(
            f"{path}: {cause}; it is set aside as {set_aside(path).name}, the best checkpoint is chosen anew from here on"
        )


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> LoopState:
    """Load a checkpoint into a model and its optimiser, bit for bit; each process reads what it holds. Raises
    InputError for the checkpoint of another model, or of another kind of optimiser.
    """
    facts = json.loads((path / STATE).read_text(encoding="utf-8"))
    load_parameters(path, model)
    optimizer.check_kind(facts.get("moments", "fp32"), path)
    optimizer.load_moments(SavedMoments(SavedTensors(path, without=(STEP,)), model))
    for name in COUNTERS:
        setattr(optimizer, name, facts["optimizer"][name])
    return LoopState(**facts["state"], tensors=load_file(path / STEP) if (path / STEP).exists() else {})


class SavedMoments(Mapping[str, Mapping[str, Tensor]]):
    """The moments of a checkpoint by parameter and kind; those of one parameter are read when they are asked for."""

    def __init__(self, saved: SavedTensors, model: nn.Module):
        self.saved = saved
        self.model = model

    def __getitem__(self, owner: str) -> Mapping[str, Tensor]:
        patterns = dict.fromkeys(self.saved.moments[owner], self.model.get_parameter(owner))
        return {name.partition(":")[0]: value for name, value in self.saved.read_like(patterns).items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.saved.moments)

    def __len__(self) -> int:
        return len(self.saved.moments)


def load_parameters(path: Path, model: nn.Module) -> None:
    """Only the parameters of a checkpoint, bit for bit, whole or as two halves. Raises InputError for the
    checkpoint of another model.
    """
    saved = SavedTensors(path, without=(STEP,))
    _check_fit(path, saved.parameters, ExactParameters(model))
    parameters = dict(model.named_parameters())
    for batch in in_batches(parameters, READ_BYTES):
        for name, value in saved.read_like({name: parameters[name] for name in batch}).items():
            load_exact(model, name, value)


def _check_fit(path: Path, saved: Mapping[str, Header], parameters: Mapping[str, Tensor]) -> None:
    for name in dict.fromkeys([*parameters, *saved]):
        there, here = (
            f"{tuple(t.shape)} {t.dtype}" if t is not None else "absent"
            for t in (saved.get(name), parameters.get(name))
        )
        if there != here:
            remedy = f"write run_dir=runs/another, or delete {path.parent} to start this stage anew"
            raise InputError(
                f"{path}: {name} is {there} in this checkpoint and {here} in the model; {remedy}"
            )


class SavedModel:
    """A model with the parameters of one of its checkpoints: a TensorSource, read one tensor after another."""

    def __init__(self, path: Path, model: PreTrainedModel):
        self.own = ModelTensors(model)
        self.saved = SavedTensors(path, without=(STEP,))
        self.headers = self.own.headers

    def read(self, name: str) -> Tensor:
        return (self.saved if name in self.saved.headers else self.own).read(name)


def clear(folder: Path) -> None:
    """Delete every checkpoint of a finished stage."""
    shutil.rmtree(folder, ignore_errors=True)
