"""Replay: a share of the tokens of each SFT update are next-token loss on general text.

A general text is a pair whose prompt is what stands before it, so it is packed, shared over processes and counted as
any other pair: every token of an update has the same weight. It is the oldest remedy against forgetting (Robins 1995);
for language models: arXiv 2403.08763.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Pair = tuple[Sequence[int], Sequence[int]]  # prompt ids, completion ids with the end token
Replay = Callable[[Sequence[Pair], int], Sequence[Pair]]  # (pairs of an update, its number) -> what it learns
STREAM = 3  # of the draws of a seed


def no_replay(pairs: Sequence[Pair], _update: int) -> Sequence[Pair]:
    """The pairs alone."""
    return pairs


@dataclass(frozen=True)
class TextReplay:
    """Puts general texts behind the pairs of an update: a function of (seed, update).

    `share` of all completion tokens, rounded to a token, are theirs. `start` stands before each text.
    """

    texts: Sequence[Sequence[int]]
    start: Sequence[int]
    share: float
    seed: int

    def __call__(self, pairs: Sequence[Pair], update: int) -> Sequence[Pair]:
        own = sum(len(completion) for _, completion in pairs)
        rest = round(self.share / (1 - self.share) * own)
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, update), spawn_key=(STREAM,)))
        texts: list[Pair] = []
        while rest:
            ids = self.texts[int(rng.integers(len(self.texts)))]
            first = int(rng.integers(max(0, len(ids) - rest) + 1))
            texts.append(([*self.start, *ids[:first]], ids[first : first + rest]))
            rest -= len(texts[-1][1])
        return [*pairs, *texts]
