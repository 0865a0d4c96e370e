"""Measures how much an encoder's cosines depend on the batch: the part of a reward that is no signal.

In a group of near-equal completions the advantage divides this noise by the group's standard deviation. So it
is measured once per run, and a group counts as equal where its rewards spread less than NOISE_MULTIPLE times
the noise.
"""

import random
from collections.abc import Sequence

from reward.encoder import Encoder

ORDERS = 4
NOISE_MULTIPLE = 10.0  # a spread above so many times the noise is signal


def cosine_noise(encoder: Encoder, texts: Sequence[str], seed: int = 0) -> float:
    """The largest change of the cosine of neighbouring `texts` when they are encoded in other orders and
    batches; 0 for fewer than 2.

    Encodes the texts ORDERS more times, each time shuffled and in two calls of other sizes.
    """
    if len(texts) < 2:
        return 0.0
    plain = encoder.encode(texts)
    cosines = (plain[1:].double() * plain[:-1].double()).sum(dim=1)
    largest = 0.0
    for number in range(ORDERS):
        rng = random.Random(f"noise {seed} {number}")
        order = rng.sample(range(len(texts)), len(texts))
        middle = rng.randrange(1, len(texts))
        rows = plain.new_empty(plain.shape)
        for part in (order[:middle], order[middle:]):
            rows[part] = encoder.encode([texts[item] for item in part])
        again = (rows[1:].double() * rows[:-1].double()).sum(dim=1)
        largest = max(largest, float((again - cosines).abs().max()))
    return largest


def std_floor(noise: float, scale: float, least: float) -> float:
    """The group standard deviation below which rewards count as equal: NOISE_MULTIPLE x noise x scale, at
    least `least`.

    `scale`: the change of the reward for a change of 1 in the cosine, e.g. weight / (1 - tau).
    """
    return max(least, NOISE_MULTIPLE * noise * scale)
