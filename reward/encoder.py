"""The frozen sentence encoders behind one signature. A new one is a class with these three members and one line in `ENCODERS`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from data.errors import InputError
from reward.use import load_use


class Encoder(Protocol):
    """Text -> vector, frozen. `fingerprint` changes whenever a vector could: it names the disk cache."""

    dim: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU; row i depends on texts[i] alone."""
        ...


def _use(cache: Path, device: torch.device) -> Encoder:
    return load_use(device)  # its weights are in its package: nothing to keep in the cache


ENCODERS: dict[str, Callable[[Path, torch.device], Encoder]] = {"use": _use}


def check_encoder(name: str) -> None:
    """InputError for an unknown name."""
    if name not in ENCODERS:
        raise InputError(f"reward.encoder: unknown encoder {name!r}; known encoders: {', '.join(ENCODERS)}")


def load_encoder(name: str, cache: Path, device: torch.device) -> Encoder:
    """The encoder called `name`; `cache` is where one that has to be built first keeps its files. InputError for an unknown name."""
    check_encoder(name)
    return ENCODERS[name](cache, device)
