"""Gives the examples of each step as a pure function of (seed, step), and those that replace them as one of (seed,
step, try, place), so a resumed run needs no replay.

The examples are read in epochs, each with its own permutation; within an epoch none comes twice. It has no
workers, no tokens and no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class PromptStream(Generic[Item]):
    """`num_prompts` examples per step out of `examples` (records, or encoded pairs)."""

    examples: Sequence[Item]
    num_prompts: int
    seed: int

    def __post_init__(self) -> None:
        if not self.examples or self.num_prompts < 1:
            raise InputError(
                f"a stream needs examples (got {len(self.examples)}) and at least 1 prompt a step (got "
                f"{self.num_prompts})"
            )

    def at(self, step: int) -> tuple[Item, ...]:
        """The examples of step `step`, counted from 0; a step may extend into the next epoch."""
        start = step * self.num_prompts
        positions = range(start, start + self.num_prompts)
        places = (divmod(position, len(self.examples)) for position in positions)
        return tuple(
            self.examples[int(permutation(self.seed, epoch, len(self.examples))[place])]
            for epoch, place in places
        )

    def replacement(self, step: int, attempt: int, place: int) -> Item:
        """What stands in the place `place` of step `step` where the first example, and all `attempt` - 1 others, were of
        no use; `attempt` counts from 1.
        """
        address = np.random.SeedSequence((self.seed, step, attempt, place), spawn_key=(0,))
        return self.examples[int(np.random.default_rng(address).integers(len(self.examples)))]


@lru_cache(maxsize=2)  # a step may extend into the next epoch
def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of an epoch, a function of the arguments; kept, as that of millions takes a second."""
    return np.random.default_rng((seed, epoch)).permutation(count)
