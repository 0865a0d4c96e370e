"""The simplest thing that is `reward.cosine.Vectors`: a function that embeds, and a list of the reference
texts met so far.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor


class PlainVectors:
    """`function`: n texts -> (n, D) numbers; rows are made unit. `calls` has the texts of every call of
    `embed`.
    """

    def __init__(self, function: Callable[[Sequence[str]], Tensor]) -> None:
        self.function = function
        self.texts: list[str] = []
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Tensor:
        self.calls.append(list(texts))
        return self._rows(texts)

    def locate(self, texts: Sequence[str]) -> Tensor:
        self.texts += [text for text in dict.fromkeys(texts) if text not in self.texts]
        return torch.tensor([self.texts.index(text) for text in texts], dtype=torch.int64)

    @property
    def matrix(self) -> Tensor:
        return self._rows(self.texts)

    def _rows(self, texts: Sequence[str]) -> Tensor:
        return torch.nn.functional.normalize(self.function(texts).float(), dim=1)


class PlainEncoder:
    """An encoder of `function`: n texts -> unit rows (n, 2)."""

    dim = 2
    fingerprint = "a" * 64

    def __init__(self, function: Callable[[Sequence[str]], Tensor]) -> None:
        self.encode = function


def resources(**values: Any) -> dict[str, Callable[[], Any]]:
    """What terms ask for, by name, each with a value that is known."""
    return {name: partial(values.get, name) for name in values}


def counts(texts: Sequence[str]) -> Tensor:
    """Invented embedding: number of '甲' and of '乙'."""
    return torch.tensor([[text.count("甲"), text.count("乙")] for text in texts], dtype=torch.float32).view(
        -1, 2
    )
