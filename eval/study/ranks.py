"""Ranks of the arms of a study at their last step, by approximate randomisation over the test items.

The outputs of all seeds for an item change sides together, so the ranks take the seeds as given.
"""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from eval.metrics.ranking import random_swaps
from eval.metrics.significance import Array
from eval.report.blocks import Table
from eval.report.ranks import metrics_with_a_better_side, rank_table
from eval.report.wording import plain_number
from eval.run_folder import Json, shared_keys
from eval.study.points import UNTOUCHED, Point
from eval.systems import rank_statistics, statistics

NOTE = "Every arm at its last step; outputs of several seeds are ranked together, and the seeds are taken as given."


def rank_figures(points: Sequence[Point], learned: Json, resamples: int, seed: int) -> Json:
    """Corpus -> the arms, their ranks by each metric, and the seeds that all have; empty for one arm."""
    last: dict[str, dict[int, Point]] = {}
    for point in sorted(points, key=lambda point: point.step):
        if point.kind != UNTOUCHED:
            last.setdefault(point.arm, {})[point.seed] = point
    seeds = sorted(set.intersection(*(set(one) for one in last.values()))) if last else []
    if len(last) < 2 or not seeds:
        return {}
    better = {name: own["better"] for name, own in learned.items()}
    shown = {metric.key for metric in metrics_with_a_better_side(learned)}
    corpora = {}
    for corpus, result in points[0].results.items():
        swaps = random_swaps(np.arange(len(result["items"])), np.random.default_rng(seed), resamples)
        rows = {
            arm: sum_of([result_rows(own[one].results[corpus], shown) for one in seeds])
            for arm, own in last.items()
        }
        ranks = rank_statistics(rows, swaps, better)
        by_metric = {key: [own[arm] for arm in last] for key, own in ranks.items()}
        corpora[corpus] = {"seeds": seeds, "arms": [*last], "ranks": by_metric}
    return corpora


def result_rows(result: Json, shown: Set[str]) -> dict[str, Array]:
    """The statistics of each item by the metrics that are shown."""
    rows = statistics(result["items"], result["target_language"])
    return {key: own for key, own in rows.items() if key in shown}


def sum_of(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Statistics of each item, of all seeds together."""
    return {key: np.sum([own[key] for own in rows], axis=0) for key in shared_keys(rows)}


def rank_tables(figures: Json) -> list[Table]:
    """A table for each corpus."""
    metrics = metrics_with_a_better_side(figures.get("learned", {}), figures.get("rewarded", ()))
    tables = []
    for corpus, own in figures.get("ranks", {}).items():
        title = f"Ranks of the arms{f' on {corpus}' if corpus else ''}, 1 = the best"
        arms = {name: name for name in own["arms"]}
        ranks = {key: dict(zip(arms, numbers, strict=True)) for key, numbers in own["ranks"].items()}
        seeds = f"Seeds: {plain_number(own['seeds'])}."
        tables.append(rank_table(title, "Arm", arms, ranks, metrics, (NOTE, seeds)))
    return tables
