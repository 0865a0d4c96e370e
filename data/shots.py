"""Chooses the examples that stand in every prompt: of the training part, which they leave."""

import random
from collections.abc import Sequence

import numpy as np

from data.errors import InputError
from data.examples import Example
from data.records import Selection, places_where


def take_shots(
    train: Sequence[Example], count: int, seed: int
) -> tuple[tuple[Example, ...], Sequence[Example]]:
    """(shots, the other examples in their order): a pure function of the arguments. Raises InputError where none
    would be left to train on.
    """
    if not count:
        return (), train
    pairs = places_where(train, lambda example: example.reference)
    if count >= len(pairs):
        raise InputError(f"prompt.shots = {count}, and the training part has {len(pairs)} pairs; write fewer")
    chosen = pairs[random.Random(f"shots {seed}").sample(range(len(pairs)), count)]
    others = np.delete(np.arange(len(train)), chosen)
    return tuple(Selection(train, chosen)), Selection(train, others)
