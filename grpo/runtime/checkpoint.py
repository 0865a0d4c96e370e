"""Save and restore the state of a training loop exactly: parameters, optimiser moments, counters, and the step it
is in the middle of.

All other state is a function of (seed, step): batches, sampling and the learning rate need no saving. A
checkpoint is a folder of safetensors and JSON, written beside its place and renamed, so a crash leaves the
one before it; its checksums, written last, tell later whether it is still what was written. One that is not
is set aside, and the one before it is used.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.cache import FULL, atomic_folder, atomic_write_text, remove_folder, remove_unfinished, set_aside
from data.checksums import damage, write_checksums
from data.errors import InputError
from grpo.engine.halves import exact_parameters, load_exact
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.updates import Moments

PARAMETERS = "parameters.safetensors"
MOMENTS = "moments.safetensors"
STEP = "step.safetensors"
STATE = "state.json"
NEEDED = (PARAMETERS, MOMENTS, STATE)  # STEP is there in the middle of a step
BEST = "best.json"
NAME = re.compile(r"step-(\d{6,})(?:\.(\d+))?")  # step, or step.update in the middle of one
COUNTERS = ("update", "skipped", "skipped_in_a_row")  # of the optimiser


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


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
) -> Path:
    """Write a checkpoint atomically, then delete all but the newest `keep` and the best; returns its path.

    `best` is the score of these weights where they are the best so far. Raises InputError where there is no
    room for the checkpoint.
    """
    path = path_of(folder, state)
    exact = exact_parameters(model)
    parameters = {name: exact[name] for name in named_parameters(model)}
    moments = {
        f"{key}:{name}": value
        for name, values in optimizer.moments().items()
        for key, value in values.items()
    }
    tensors: dict[str, Mapping[str, Tensor]] = {PARAMETERS: parameters, MOMENTS: moments}
    if state.tensors:
        tensors[STEP] = {
            name: value.clone() for name, value in state.tensors.items()
        }  # safetensors refuses views of one memory
    scalars = {
        "step": state.step,
        "update": state.update,
        "kl_coef": state.kl_coef,
        "partial": dict(state.partial),
        "tax": dict(state.tax),
    }
    counters = {name: getattr(optimizer, name) for name in COUNTERS}
    facts = {"state": scalars, "optimizer": counters, "moments": optimizer.moments_kind}
    try:
        if best is not None:
            mark_best(
                folder, path, best
            )  # before the checkpoint itself: a run that is killed in between makes it again
        with atomic_folder(path) as work:
            for name, content in tensors.items():
                save_file({key: value.detach().contiguous() for key, value in content.items()}, work / name)
            (work / STATE).write_text(json.dumps(facts), encoding="utf-8")
            write_checksums(work)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(_no_room(path, tensors, error)) from error
        raise
    keeping = {*checkpoints(folder)[-keep:], folder / (_best_mark(folder) or {"name": ""})["name"]}
    for old in checkpoints(folder):
        if old not in keeping:
            remove_folder(old)
    return path


def _no_room(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], error: OSError) -> str:
    needed = sum(value.nbytes for content in tensors.values() for value in content.values())
    earlier = next(
        (f"{old.name} is intact" for old in reversed(checkpoints(path.parent)) if not damage(old, NEEDED)),
        "none is before it",
    )
    return (
        f"{path}: this checkpoint could not be written ({error.strerror}; it needs {needed / 1e6:,.1f} MB, "
        f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free); {earlier}; free space and run the same command"
    )


def mark_best(folder: Path, path: Path, score: float) -> None:
    """Say that `path` has the best weights so far; it is kept however old it gets."""
    atomic_write_text(folder / BEST, json.dumps({"name": path.name, "score": score}))


def _best_mark(folder: Path) -> dict | None:
    return json.loads((folder / BEST).read_bytes()) if (folder / BEST).exists() else None


def best(folder: Path) -> tuple[Path, float] | None:
    """The best checkpoint and its score; None before there is one."""
    marked = _best_mark(folder)
    return (
        (folder / marked["name"], marked["score"]) if marked and (folder / marked["name"]).is_dir() else None
    )


def newest(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; damaged ones are set aside as `damaged-...` and spoken of. None = there is
    nothing to go on from.
    """
    remove_unfinished(folder)
    damaged = {}
    intact = None
    for path in reversed(checkpoints(folder)):
        cause = damage(path, NEEDED)
        if not cause:
            intact = path
            break
        damaged[path] = cause
    for path, cause in damaged.items():
        instead = (
            f"going on from {intact.name}" if intact else "nothing else is saved, so this stage starts anew"
        )
        say(f"{path}: {cause}; it is set aside as {set_aside(path).name}, {instead}")
    _check_best(folder, say)
    return intact


def _check_best(folder: Path, say: Callable[[str], None]) -> None:
    """Set aside what would be taken for the best later and is damaged."""
    try:
        found = best(folder)
        path, cause = (found[0], damage(found[0], NEEDED)) if found else (folder / BEST, "")
    except (ValueError, TypeError, KeyError):
        path = folder / BEST
        cause = "cannot be read"
    if cause:
        say(
            f"{path}: {cause}; it is set aside as {set_aside(path).name}, the best checkpoint is chosen anew from here on"
        )


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> LoopState:
    """Load a checkpoint into a model and its optimiser, bit for bit. Raises InputError for the checkpoint of
    another model, or of another kind of optimiser.
    """
    facts = json.loads((path / STATE).read_text(encoding="utf-8"))
    load_parameters(path, model)
    optimizer.check_kind(facts.get("moments", "fp32"), path)
    moments: Moments = defaultdict(dict)
    for key, value in load_file(path / MOMENTS).items():
        kind, name = key.split(":", 1)
        moments[name][kind] = value
    optimizer.load_moments(moments)
    for name in COUNTERS:
        setattr(optimizer, name, facts["optimizer"][name])
    return LoopState(**facts["state"], tensors=load_file(path / STEP) if (path / STEP).exists() else {})


def load_parameters(path: Path, model: nn.Module) -> None:
    """Only the parameters of a checkpoint, bit for bit, whole or as two halves. Raises InputError for the
    checkpoint of another model.
    """
    saved = load_file(path / PARAMETERS)
    _check_fit(path, saved, exact_parameters(model))
    for name, value in saved.items():
        load_exact(model, name, value)


def _check_fit(path: Path, saved: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
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


def clear(folder: Path) -> None:
    """Delete every checkpoint of a finished stage."""
    shutil.rmtree(folder, ignore_errors=True)
