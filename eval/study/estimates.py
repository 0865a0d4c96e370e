"""Estimates the figures of a study: an estimate is a row, the figure and then its values in resamples of the items
behind it.

All checkpoints share the resamples: the same test items for all arms, the same texts for all taxes. So the
difference of two figures is that of their rows, and likewise anything computed from many figures: a front, an
area, a tax at an equal score. Over seeds: the figures of up to two seeds are averaged, and the interval covers the
choice of items only; from three seeds on it is Student's t interval over the seeds' values, which covers repeated
training and takes the test items as given.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from eval.macro import corpus_counts
from eval.metrics.significance import Z_95, Array, Score, percentile_interval, ratio_of_sums, resample_counts
from eval.run_folder import Json, named_damage, results_by_corpus, shared_keys
from eval.study.points import Point
from eval.systems import score_of, statistics

SEEDS_FOR_T = 3
T_975 = {2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 7: 2.36462, 8: 2.30600, 9: 2.26216}
Estimate = Array  # (1 + resamples,): the figure, then its values in the resamples
Scores = dict[str, Estimate]
Counts = Callable[[int, int], Array]  # (place of a corpus, its items) -> (resamples, items)


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """A point with estimates of its target metrics, tax (change of NLL per token on general text) and KL; and of its
    metrics on each of several corpora, whose means the target metrics are.
    """

    point: Point
    metrics: Scores
    tax: Estimate
    kl: Estimate
    corpora: Mapping[str, Scores] = field(default_factory=dict)

    def on(self, corpus: str) -> Scores:
        """The scores on one of several corpora; on "" those of all."""
        return self.corpora[corpus] if corpus else self.metrics


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
    """One figure of several seeds -> {value, low, high, seeds}, with `per_seed` where there are several: t interval from
    three seeds on, else over items alone.
    """
    values = [float(estimate[0]) for estimate in seeds]
    if len(seeds) >= SEEDS_FOR_T:
        low, high = student_interval(values)
    else:
        low, high = percentile_interval(np.mean([estimate[1:] for estimate in seeds], axis=0))
    each = {"per_seed": values} if len(seeds) > 1 else {}
    return {"value": fmean(values), "low": low, "high": high, "seeds": len(seeds), **each}


def student_interval(values: Sequence[float]) -> tuple[float, float]:
    """The ends of Student's 95 % t interval of the mean of several values."""
    half = student_t(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def method_words(seeds: int) -> str:
    """How the intervals of a study with so many seeds are made, for the reader."""
    if seeds >= SEEDS_FOR_T:
        return f"95 % Student t interval over {seeds} seeds; figures of fewer than {SEEDS_FOR_T} seeds: paired bootstrap over items"
    return (
        "95 % percentile interval of a paired bootstrap over items (the same resamples for all arms); "
        "it does not cover repeated training"
    )


def estimate_checkpoints(points: Sequence[Point], resamples: int, seed: int) -> list[EvaluatedCheckpoint]:
    """The estimates of every point, from one set of resamples of the test items of each corpus and one of the texts."""

    @functools.cache
    def items(corpus: int, n: int) -> Array:
        return corpus_counts(corpus, n, seed, resamples)

    @functools.cache
    def texts(n: int) -> Array:
        return resample_counts(n, np.random.default_rng([seed, 1]), resamples)

    return [estimate_checkpoint(point, items, texts(len(point.texts))) for point in points]


def estimate_checkpoint(point: Point, items: Counts, texts: Array) -> EvaluatedCheckpoint:
    """The estimates of one point; `texts` (resamples, general texts) counts how often each is drawn."""
    corpora = corpus_estimates(point.target, items)
    change = ratios([item["nll"] - item["nll_base"] for item in point.texts], point.texts, texts)
    kl = ratios([item["kl"] for item in point.texts], point.texts, texts)
    return EvaluatedCheckpoint(point, macro_estimates(corpora), change, kl, corpora)


def corpus_estimates(result: Json, counts: Counts) -> dict[str, Scores]:
    """Every score of a result on each of its corpora; on "" where it is of one."""
    estimates = {}
    for place, (name, one) in enumerate(results_by_corpus(result).items()):
        rows = statistics(one["items"], one["target_language"])
        drawn_items = counts(place, len(one["items"]))
        estimates[name] = {key: estimate(score_of(key), own, drawn_items) for key, own in rows.items()}
    return estimates


def result_scores(document: Json, name: str, resamples: int, seed: int) -> Scores:
    """Every score of a result on another task than the study's own, which is read from the file `name`. Raises InputError
    where its items are damaged.
    """
    with named_damage(f"{name} is damaged", "remove it and run the study again"):
        return macro_estimates(
            corpus_estimates(document["target"], lambda corpus, n: corpus_counts(corpus, n, seed, resamples))
        )


def macro_estimates(corpora: Mapping[str, Scores]) -> Scores:
    """The mean of every score over the corpora."""
    if "" in corpora:
        return corpora[""]
    return {key: average([one[key] for one in corpora.values()]) for key in shared_keys(corpora.values())}


def average(estimates: Sequence[Estimate]) -> Estimate:
    return np.asarray(np.mean(estimates, axis=0))


def ratios(sums: Sequence[float], texts: Sequence[Json], counts: Array) -> Estimate:
    """Nats per token over all texts: `sums` are the nats of each text."""
    rows = np.asarray([sums, [text["tokens"] for text in texts]], dtype=np.float64).T
    return estimate(ratio_of_sums, rows, counts)


def estimate(score: Score, rows: Array, counts: Array) -> Estimate:
    """A score of all items, from the statistics of each (items, k), and of each resample, from `counts`."""
    return np.concatenate([[score(rows.sum(axis=0))], score(counts @ rows)])
