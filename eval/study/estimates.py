"""Estimates the figures of a study: each has a value and its values in resamples of the items behind it.

All checkpoints share the resamples: the same test items for all arms, the same texts for all taxes. So the
difference of two figures is the difference of their values in each resample, and likewise anything computed
from many figures: a front, an area, a tax at an equal score. Over seeds: the figures of up to two seeds are
averaged, and the interval covers the choice of items only; from three seeds on it is Student's t interval
over the seeds' values, which covers repeated training and takes the test items as given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.significance import CONFIDENCE, Z_95, Array, ratio_of_sums, resample_counts
from eval.run_folder import Json
from eval.study.points import Point
from eval.systems import SCORES, statistics

SEEDS_FOR_T = 3
T_975 = {2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 7: 2.36462, 8: 2.30600, 9: 2.26216}


@dataclass(frozen=True)
class Estimate:
    """A figure and its values in the resamples, `draws` (resamples,)."""

    value: float
    draws: Array

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference: both sides were computed from the same resamples."""
        return Estimate(self.value - other.value, self.draws - other.draws)


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """A point with estimates of its target metrics, tax (change of NLL per token on general text) and KL."""

    point: Point
    metrics: dict[str, Estimate]
    tax: Estimate
    kl: Estimate


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, from 10 degrees of freedom on by the Cornish-Fisher expansion.

    >>> round(student_t(2), 3), round(student_t(10), 3), round(student_t(30), 3)
    (4.303, 2.228, 2.042)
    """
    if freedom in T_975:
        return T_975[freedom]
    z = Z_95
    v = freedom
    first = (z**3 + z) / (4 * v)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def interval(seeds: Sequence[Estimate]) -> Json:
    """One figure of several seeds -> {value, low, high, seeds, per_seed}: t interval from three seeds on,
    else over items alone.
    """
    values = [estimate.value for estimate in seeds]
    mean = math.fsum(values) / len(values)
    if len(seeds) >= SEEDS_FOR_T:
        half = student_t(len(seeds) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(seeds))
        low = mean - half
        high = mean + half
    else:
        tail = (1 - CONFIDENCE) / 2
        low, high = map(
            float, np.quantile(np.mean([estimate.draws for estimate in seeds], axis=0), [tail, 1 - tail])
        )
    return {"value": mean, "low": low, "high": high, "seeds": len(seeds), "per_seed": values}


def method_words(seeds: int) -> str:
    """How the intervals of a study with so many seeds are made, for the reader."""
    if seeds >= SEEDS_FOR_T:
        return (
            f"95 % Student t interval over {seeds} seeds; figures of fewer than {SEEDS_FOR_T} seeds: "
            "paired bootstrap over items"
        )
    return (
        "95 % percentile interval of a paired bootstrap over items (the same resamples for all arms); "
        "it does not cover repeated training"
    )


def estimate_checkpoints(points: Sequence[Point], resamples: int, seed: int) -> list[EvaluatedCheckpoint]:
    """The estimates of every point, from one set of resamples of the test items and one of the texts."""
    counts: dict[tuple[str, int], Array] = {}

    def counts_for(kind: str, n: int) -> Array:
        if (kind, n) not in counts:
            counts[kind, n] = resample_counts(n, np.random.default_rng([seed, kind == "text"]), resamples)
        return counts[kind, n]

    return [
        estimate_checkpoint(
            point, counts_for("item", len(point.target["items"])), counts_for("text", len(general(point)))
        )
        for point in points
    ]


def general(point: Point) -> list[Json]:
    """The texts of a point's general drift."""
    items: list[Json] = point.tax["drift"]["general"]["items"]
    return items


def estimate_checkpoint(point: Point, items: Array, texts: Array) -> EvaluatedCheckpoint:
    """The estimates of one point.

    `items` (resamples, test items) and `texts` (resamples, general texts) count how often each is drawn.
    """
    rows = statistics(point.target["items"], point.target["target_language"])
    metrics = {
        key: Estimate(float(score(rows[key].sum(axis=0))), np.asarray(score(items @ rows[key])))
        for key, score in SCORES.items()
    }
    change = ratios([item["nll"] - item["nll_base"] for item in general(point)], general(point), texts)
    return EvaluatedCheckpoint(
        point, metrics, change, ratios([item["kl"] for item in general(point)], general(point), texts)
    )


def ratios(sums: Sequence[float], texts: Sequence[Json], counts: Array) -> Estimate:
    """Nats per token over all texts: `sums` are the nats of each text."""
    rows = np.stack(
        [
            np.asarray(sums, dtype=np.float64),
            np.asarray([text["tokens"] for text in texts], dtype=np.float64),
        ],
        axis=1,
    )
    return Estimate(float(ratio_of_sums(rows.sum(axis=0))), np.asarray(ratio_of_sums(counts @ rows)))
