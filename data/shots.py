"""Chooses the examples that stand in every prompt: of the training part, which they leave."""

import random
from collections.abc import Sequence

from data.errors import InputError
from data.examples import Example


def take_shots(
    train: Sequence[Example], count: int, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(shots, the other examples in their order): a pure function of the arguments. Raises InputError where none
    would be left to train on.
    """
    if not count:
        return (), tuple(train)
    pairs = [place for place, example in enumerate(train) if example.reference]
    if count >= len(pairs):
        raise InputError(f"prompt.shots = {count}, and the training part has {len(pairs)} pairs; write fewer")
    chosen = random.Random(f"shots {seed}").sample(pairs, count)
    taken = set(chosen)
    return tuple(train[i] for i in chosen), tuple(e for i, e in enumerate(train) if i not in taken)
