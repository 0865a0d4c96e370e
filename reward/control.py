"""Two rewards without meaning, as controls: what a model gains under them does not come from the reward's
meaning.

shuffled  judges a completion by the references of another example, always the same one
random    a number in [0, 1) that is a hash of (seed, source, completion)

Not here: the true reward, which the log still shows.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from data.grams import Ints
from data.key_table import KeyTable

BITS = 24  # of a random number: as many as fp32 holds exactly

References = tuple[str, ...]


def derangement(count: int, seed: int) -> Ints:
    """A permutation of `count` places without a fixed point: one cycle through all places, a function of
    `count` and `seed`. Raises InputError for fewer than 2.

    >>> derangement(2, seed=5).tolist()
    [1, 0]
    """
    if count < 2:
        raise InputError(
            f'reward.control = "shuffled" needs 2 different reference texts, and there are {count}; write "random" or "none"'
        )
    cycle = np.random.default_rng(seed).permutation(count)
    following = np.empty(count, dtype=np.int64)
    following[cycle] = np.roll(cycle, -1)
    return following


class OtherReferences(Mapping[References, References]):
    """The reference texts of each example -> those that judge it instead; equal ones map to equal ones, none to
    itself. Memory holds numbers for each of them, and no text.
    """

    def __init__(self, references: Sequence[Sequence[str]], seed: int) -> None:
        self.references = references
        self.table = KeyTable()
        self.places = array("q")  # where each different one comes first
        for place, texts in enumerate(map(tuple, references)):
            if self._number(texts) is None:
                self.table.add(hash(texts), len(self.places))
                self.places.append(place)
        self.following = derangement(len(self.places), seed)

    def _number(self, texts: References) -> int | None:
        numbers = self.table.positions_of(hash(texts))
        return next((number for number in numbers if self._texts(number) == texts), None)

    def _texts(self, number: int) -> References:
        return tuple(self.references[self.places[number]])

    def __getitem__(self, texts: References) -> References:
        number = self._number(texts)
        if number is None:
            raise KeyError(texts)
        return self._texts(int(self.following[number]))

    def __iter__(self) -> Iterator[References]:
        return map(self._texts, range(len(self)))

    def __len__(self) -> int:
        return len(self.places)


def random_rewards(sources: Sequence[str], completions: Sequence[str], seed: int) -> Tensor:
    """(N,) fp32 in [0, 1): equal for the same completion of the same source, otherwise unrelated."""
    keys = (
        f"{seed}\0{source}\0{completion}" for source, completion in zip(sources, completions, strict=True)
    )
    return random_numbers(keys)


def random_numbers(keys: Iterable[str]) -> Tensor:
    """(n,) fp32 in [0, 1), each a hash of its text."""
    numbers = [
        int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> (64 - BITS) for key in keys
    ]
    return torch.tensor(numbers, dtype=torch.float32) / 2**BITS
