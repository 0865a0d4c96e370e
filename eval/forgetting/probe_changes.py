"""Compares two results of the probes item by item: a paired bootstrap over texts, the exact McNemar test over questions.
It reads results alone, so it imports no model.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.metrics.significance import (
    RESAMPLES,
    mcnemar,
    paired_bootstrap,
    ratio_of_sums,
    resample_counts,
    transitions,
)
from eval.run_folder import questions_of

TEXT_PROBES = ("english", "chinese")


def paired_values(
    before: dict[str, Any], after: dict[str, Any], *keys: str
) -> Iterator[tuple[list[Any], list[Any]]]:
    """For each key the values of both results item by item. Raises ValueError if the items differ."""
    if [row["id"] for row in before["items"]] != [row["id"] for row in after["items"]]:
        raise ValueError("the two probe results are of different items; run both panels again")
    for key in keys:
        yield [row[key] for row in before["items"]], [row[key] for row in after["items"]]


def compare_probes(
    before: dict[str, Any], after: dict[str, Any], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Change of each probe that both have: bits per character with a bootstrap interval, accuracies with
    McNemar's exact test and the rates of both transitions. Raises ValueError if the items differ.
    """
    changes: dict[str, Any] = {}
    for name in TEXT_PROBES:
        columns = list(paired_values(before[name], after[name], "bits", "characters"))
        first, second = (
            np.asarray([column[side] for column in columns], dtype=np.float64).T for side in (0, 1)
        )
        counts = resample_counts(len(first), np.random.default_rng(seed), resamples)
        changes[name] = asdict(paired_bootstrap(first, second, ratio_of_sums, counts))
    return changes | compare_questions(before, after)


def compare_questions(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Change of the accuracies that both results have. Raises ValueError if the items differ."""
    changes: dict[str, Any] = {}
    for name in questions_of(before):
        if name not in after:
            continue
        for key, metric in (("right", "accuracy"), ("right_per_character", "accuracy_per_character")):
            ((first_right, second_right),) = paired_values(before[name], after[name], key)
            difference = after[name][metric] - before[name][metric]
            changes[f"{name}_{metric}"] = {
                "difference": difference,
                **asdict(mcnemar(first_right, second_right)),
                **asdict(transitions(first_right, second_right)),
            }
    return changes
