"""Prompts that begin alike share those tokens: under a causal mask a hidden state depends on what stands before, and nothing else.

Prompts of one task begin with the same words, and a set may hold a prompt twice; each distinct beginning need run only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Beginnings:
    """S tokens of all prompts in a row, K of them distinct by everything up to and with them.

    `ids` and `positions` (K,) are the distinct ones; `of_token` (S,) says which of them a token is, `first` (K,) where it stands first.
    """

    ids: Tensor
    positions: Tensor
    of_token: Tensor
    first: Tensor


def distinct_beginnings(prompts: Sequence[Sequence[int]], device: torch.device) -> Beginnings:
    """For example [[2, 7], [2, 7, 9], [2, 5]]: ids 2 7 9 5 at positions 0 1 2 1, of_token 0 1 0 1 2 0 3, first 0 1 4 6."""
    numbers: dict[tuple[int, int], int] = {}  # (number of what stands before, token) -> number
    positions: list[int] = []
    of_token: list[int] = []
    first: list[int] = []
    for prompt in prompts:
        number = -1
        for position, token in enumerate(prompt):
            number = numbers.setdefault((number, token), len(first))
            if number == len(first):
                positions.append(position)
                first.append(len(of_token))
            of_token.append(number)
    ids = [token for _, token in numbers]
    return Beginnings(*(torch.tensor(values, device=device) for values in (ids, positions, of_token, first)))
