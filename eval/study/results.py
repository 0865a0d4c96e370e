"""Results on another task than the study's own: their scores with resamples, and whether their test items are the same."""

from collections.abc import Hashable, Sequence

import numpy as np

from data.errors import InputError
from eval.metrics.significance import resample_counts
from eval.run_folder import DAMAGE, Json
from eval.study.estimates import Estimate
from eval.systems import SCORES, statistics

Scores = dict[str, Estimate]


def check_same_items(documents: Sequence[tuple[Hashable, str, Json]]) -> None:
    """(group, file, result): InputError naming a file of other test items than the first of its group."""
    firsts: dict[Hashable, tuple[str, Json]] = {}
    for group, name, one in documents:
        first_name, first = firsts.setdefault(group, (name, one))
        if identities(one) != identities(first):
            raise InputError(
                f"{name}: other test items than {first_name}; remove the older of the two and run the study again"
            )


def identities(document: Json) -> list[Json]:
    """What makes the test items of two runs the same: id and reference texts."""
    items = document["target"]["items"]
    texts = [item.get("references") or [item.get("reference")] for item in items]
    return [{"id": item.get("id"), "texts": own} for item, own in zip(items, texts, strict=True)]


def scores(document: Json, name: str, resamples: int, seed: int) -> Scores:
    """Every score of one result, which is read from the file `name`. Raises InputError where its items are damaged."""
    target = document["target"]
    try:
        rows = statistics(target["items"], target["target_language"])
        counts = resample_counts(len(target["items"]), np.random.default_rng(seed), resamples)
        return {
            key: Estimate(float(score(rows[key].sum(axis=0))), np.asarray(score(counts @ rows[key])))
            for key, score in SCORES.items()
        }
    except DAMAGE as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{name} is damaged ({problem}); remove it and run the study again") from error
