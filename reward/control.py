"""Two rewards without meaning, as controls: what a model gains under them does not come from the reward's
meaning.

shuffled  judges a completion by the references of another example, always the same one
random    a number in [0, 1) that is a hash of (seed, source, completion)

Not here: the true reward, which the log still shows.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError

BITS = 24  # of a random reward: as many as fp32 holds exactly

References = tuple[str, ...]


def derangement(count: int, seed: int) -> list[int]:
    """A permutation of `count` places without a fixed point: one cycle through all places, a function of
    `count` and `seed`. Raises InputError for fewer than 2.

    >>> derangement(2, seed=5)
    [1, 0]
    """
    if count < 2:
        raise InputError(
            f'reward.control = "shuffled" needs 2 different reference texts, and there are {count}; write "random" or "none"'
        )
    cycle = np.random.default_rng(seed).permutation(count)
    following = np.empty(count, dtype=np.int64)
    following[cycle] = np.roll(cycle, -1)
    return [int(place) for place in following]


def shuffled_references(references: Sequence[Sequence[str]], seed: int) -> dict[References, References]:
    """The references of each example -> the references that judge it instead; equal ones map to equal ones,
    none to itself.
    """
    different = list(dict.fromkeys(map(tuple, references)))
    return {
        different[place]: different[other] for place, other in enumerate(derangement(len(different), seed))
    }


def random_rewards(sources: Sequence[str], completions: Sequence[str], seed: int) -> Tensor:
    """(N,) fp32 in [0, 1): equal for the same completion of the same source, otherwise unrelated."""
    keys = (
        f"{seed}\0{source}\0{completion}" for source, completion in zip(sources, completions, strict=True)
    )
    numbers = [
        int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> (64 - BITS) for key in keys
    ]
    return torch.tensor(numbers, dtype=torch.float32) / 2**BITS
