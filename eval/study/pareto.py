"""Computes the Pareto front of gain against tax, the area under it, and tax and gain of a place on it.

Pure numpy; a checkpoint is a pair (gain, tax); a large gain and a small tax are good. `eval.study.estimates`
makes the numbers, `eval.study.compare` chooses which arms are compared.

The covered area is the hypervolume of Zitzler and Thiele (IEEE Trans. Evol. Comp. 3, 1999) in two dimensions,
against the reference point (gain 0, tax `cap`).
"""

import math
from collections.abc import Sequence

import numpy as np

from eval.metrics.significance import Array


def front(gains: Sequence[float] | Array, taxes: Sequence[float] | Array) -> list[int]:
    """Positions of the pairs that no other pair dominates, by rising gain (and so tax); the first of equals.

    >>> front([0.0, 0.1, 0.2, 0.2], [0.00, 0.05, 0.04, 0.06])
    [0, 2]
    """
    positions: list[int] = []
    for position in sorted(range(len(gains)), key=lambda i: (-gains[i], taxes[i], i)):
        if not positions or taxes[position] < taxes[positions[-1]]:
            positions.append(position)
    return positions[::-1]


def hypervolume(gains: Array, taxes: Array, cap: float) -> Array:
    """(points, ...) gains and taxes -> (...) area between their front and the corner (gain 0, tax `cap`).

    A point without gain, or with a tax above `cap`, covers nothing.

    >>> float(hypervolume(np.array([1.0, 3.0]), np.array([0.0, 2.0]), cap=4.0))
    8.0
    """
    order = np.argsort(-gains, axis=0, kind="stable")
    falling = np.maximum(np.take_along_axis(gains, order, axis=0), 0.0)
    # of all with at least this gain
    cheapest = np.minimum.accumulate(np.take_along_axis(taxes, order, axis=0), axis=0)
    widths = falling - np.concatenate([falling[1:], np.zeros_like(falling[:1])])
    return np.asarray((widths * np.maximum(cap - cheapest, 0.0)).sum(axis=0))


def tax_at(gains: Array, taxes: Array, gain: float) -> float:
    """The tax of a gain of at least `gain`, by linear interpolation between neighbours on the front.

    Infinite above the front's largest gain: nothing is extrapolated. Below its smallest gain the tax of that
    point, the cheapest that is known.

    >>> [tax_at(np.array([0.0, 2.0]), np.array([1.0, 2.0]), gain) for gain in (0.5, 2.5)]
    [1.25, inf]
    """
    best = front(gains, taxes)
    return float(np.interp(gain, gains[best], taxes[best], right=math.inf))


def gain_at(gains: Array, taxes: Array, tax: float) -> float:
    """The gain for at most `tax` on the front, likewise; minus infinity below its smallest tax.

    >>> [gain_at(np.array([0.0, 2.0]), np.array([1.0, 2.0]), tax) for tax in (1.5, 0.5)]
    [1.0, -inf]
    """
    best = front(gains, taxes)
    return float(np.interp(tax, taxes[best], gains[best], left=-math.inf))
