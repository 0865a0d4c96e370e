"""The tiny learned metrics of benchmarks/tiny_metrics.py as metric folders."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.tiny_metrics import write_checkpoint
from reward.learned.convert import convert


def metric_folder(place: Path, name: str) -> Path:
    """The converted folder of one metric, made once below `place`."""
    out = place / f"{name}_folder"
    if not out.exists():
        checkpoint, base = write_checkpoint(name, place / name, place / "bases")
        convert(checkpoint, base, out)
    return out


def marking_folder(place: Path) -> Path:
    """The folder of xcomet with a head that calls some tokens right, so that it marks errors between them."""
    folder = metric_folder(place, "xcomet")
    head = load_file(folder / "head.safetensors")
    head["hidden2tag.weight"] *= 4
    head["hidden2tag.bias"] += torch.tensor([3.0, 0.0, 0.0, 0.0])
    save_file(head, folder / "head.safetensors")
    return folder
