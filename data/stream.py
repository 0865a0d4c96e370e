"""Gives the examples of each step as a pure function of (seed, step), and those that replace them as one of (seed,
step, try, place), so a resumed run needs no replay.

The examples are read in epochs, each with its own permutation; within an epoch none comes twice. It has no
workers, no tokens and no state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)
BLOCK = 256  # items of a mixture in which the shares of its corpora are kept
APART = 64  # bits between the seeds of two corpora


class Stream(Protocol[Given]):
    def at(self, step: int) -> Sequence[Given]:
        """The examples of a step: a function of (seed, step) alone."""
        ...


@dataclass(frozen=True)
class PromptStream(Generic[Item]):
    """`num_prompts` examples per step out of `examples` (records, or encoded pairs)."""

    examples: Sequence[Item]
    num_prompts: int
    seed: int

    def __post_init__(self) -> None:
        if not self.examples or self.num_prompts < 1:
            raise InputError(
                f"a stream needs examples (got {len(self.examples)}) and at least 1 prompt a step (got {self.num_prompts})"
            )

    def at(self, step: int) -> tuple[Item, ...]:
        """The examples of step `step`, counted from 0; a step may extend into the next epoch."""
        start = step * self.num_prompts
        return tuple(map(self.item, range(start, start + self.num_prompts)))

    def item(self, position: int) -> Item:
        """The example at a position of the stream, counted from 0."""
        epoch, place = divmod(position, len(self.examples))
        return self.examples[int(permutation(self.seed, epoch, len(self.examples))[place])]

    def replacement(self, step: int, attempt: int, place: int) -> Item:
        """What stands in the place `place` of step `step` where the first example, and all `attempt` - 1 others, were of
        no use; `attempt` counts from 1.
        """
        address = np.random.SeedSequence((self.seed, step, attempt, place), spawn_key=(0,))
        return self.examples[int(np.random.default_rng(address).integers(len(self.examples)))]


@dataclass(frozen=True)
class MixedStream(Generic[Item]):
    """`num_prompts` examples per step out of several corpora, each with its share. Every corpus is read in epochs of
    its own.

    In each block of BLOCK positions a corpus has as many as its share gives, to within one, in random order. So
    where a corpus is after any step follows from the step alone.
    """

    corpora: Mapping[str, Sequence[Item]]
    shares: Mapping[str, float]
    num_prompts: int
    seed: int

    def __post_init__(self) -> None:
        if empty := [name for name, examples in self.corpora.items() if not examples]:
            raise InputError(
                f"data.corpora.{empty[0]} has no pair to learn from; give it more, or leave it out"
            )

    @cached_property
    def streams(self) -> list[PromptStream[Item]]:
        """A stream of each corpus, the one with the largest share first."""
        names = sorted(self.corpora, key=lambda name: (-self.shares[name], name))
        return [
            PromptStream(self.corpora[name], self.num_prompts, self.seed + (number << APART))
            for number, name in enumerate(names)
        ]

    @cached_property
    def small_shares(self) -> NDArray[np.float64]:
        """The shares of all corpora but the first, which has the rest of each block."""
        return np.array(sorted(self.shares.values(), reverse=True)[1:])

    def at(self, step: int) -> tuple[Item, ...]:
        """The examples of step `step`, counted from 0."""
        start = step * self.num_prompts
        return tuple(map(self.item, range(start, start + self.num_prompts)))

    def item(self, position: int) -> Item:
        """The example at a position of the stream, counted from 0."""
        block, place = divmod(position, BLOCK)
        before, after = (self._counts(number) for number in (block, block + 1))
        order = np.repeat(np.arange(len(before)), after - before)[permutation(self.seed, block, BLOCK)]
        corpus = int(order[place])
        return self.streams[corpus].item(int(before[corpus] + np.count_nonzero(order[:place] == corpus)))

    def replacement(self, step: int, attempt: int, place: int) -> Item:
        """As that of PromptStream; its corpus is drawn by the shares."""
        address = np.random.SeedSequence((self.seed, step, attempt, place), spawn_key=(0,))
        random = np.random.default_rng(address)
        corpus = int(
            np.count_nonzero(
                random.random() >= np.cumsum([1 - self.small_shares.sum(), *self.small_shares])[:-1]
            )
        )
        examples = self.streams[corpus].examples
        return examples[int(random.integers(len(examples)))]

    def _counts(self, block: int) -> NDArray[np.int64]:
        """(corpora,) how many positions each corpus has before a block."""
        small = np.floor(block * BLOCK * self.small_shares).astype(np.int64)
        return np.concatenate([[block * BLOCK - small.sum()], small])


@lru_cache(maxsize=16)  # a step may extend into the next epoch, and a mixture has an epoch of each corpus
def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of an epoch, a function of the arguments; kept, as that of millions takes a second."""
    return np.random.default_rng((seed, epoch)).permutation(count)
