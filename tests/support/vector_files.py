"""Vector files whose rows can be told from their keys."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reward.vector_file import VectorFile

OURS = "f" * 64
DIM = 32


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def rows_of(keys: Sequence[bytes], dim: int = DIM) -> Tensor:
    """A row that can be told from its key."""
    return (
        torch.tensor([list(key) for key in keys], dtype=torch.float32).view(-1, 16).repeat(1, dim // 16) + 0.5
    )


def keys_of(numbers: Sequence[int]) -> list[bytes]:
    return [key(number) for number in numbers]


def open_vectors(folder: Path, said: list[str] | None = None) -> VectorFile:
    """As a run opens it; without `said`, anything said is an error."""
    if said is not None:
        return VectorFile(folder, OURS, DIM, said.append)
    return VectorFile(folder, OURS, DIM, lambda line: pytest.fail(line))


def file_of(folder: Path, numbers: Sequence[int]) -> VectorFile:
    file = open_vectors(folder)
    file.append(keys_of(numbers), rows_of(keys_of(numbers)))
    return file
