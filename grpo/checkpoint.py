"""Save and restore exactly what a loop needs to go on: parameters, optimiser moments and the loop's own counters.

All other state is a function of (seed, step): batches, sampling and the learning rate need no saving. A checkpoint is
a folder of safetensors and JSON, written beside its place and renamed, so a crash leaves the one before it.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.cache import atomic_folder
from grpo.optim import Optimizer
from grpo.records import LoopState


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save(folder: Path, model: nn.Module, optimizer: Optimizer, state: LoopState, keep: int) -> Path:
    """Write `folder/step-NNNNNN` atomically and delete all but the newest `keep`; returns its path."""
    parameters = named_parameters(model)
    moments: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.adamw.state.get(parameter, {}).items():
            moments[f"{key}:{name}"] = value.detach().contiguous()
    path = folder / f"step-{state.step:06d}"
    facts = {"state": dataclasses.asdict(state), "update": optimizer.update, "skipped": optimizer.skipped}
    with atomic_folder(path) as work:
        save_file({name: parameter.detach().contiguous() for name, parameter in parameters.items()}, work / "parameters.safetensors")
        save_file(moments, work / "moments.safetensors")
        (work / "state.json").write_text(json.dumps(facts), encoding="utf-8")
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def clear(folder: Path) -> None:
    """Delete every checkpoint of a finished stage."""
    shutil.rmtree(folder, ignore_errors=True)


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> LoopState:
    """Load a checkpoint into a model and its fresh optimiser, bit for bit."""
    saved, moments = load_file(path / "parameters.safetensors"), load_file(path / "moments.safetensors")
    facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
    parameters = named_parameters(model)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
    for key, value in moments.items():
        kind, name = key.split(":", 1)
        parameter = parameters[name]
        optimizer.adamw.state[parameter][kind] = value.clone() if kind == "step" else value.to(parameter.device).clone()
    optimizer.update, optimizer.skipped = facts["update"], facts["skipped"]
    return LoopState(**facts["state"])
