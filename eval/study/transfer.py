"""Compares starts of few-shot transfer: every start against every other after fine-tuning on another task.

One document is one run: {"start", "examples", "seed", "target"}, `target` as `eval.systems.evaluate_system`
returns it. All runs of a seed are judged on the same test items, with the same resamples.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from data.errors import InputError
from eval.metrics.significance import resample_counts
from eval.run_folder import DAMAGE, Json
from eval.study.estimates import Estimate, interval
from eval.study.layout import transfer_file
from eval.study.points import UNTOUCHED
from eval.systems import SCORES, statistics

Scores = dict[str, Estimate]
Runs = dict[tuple[int, str], dict[int, Scores]]  # (examples, start) -> seed -> scores


def transfer_figures(documents: Sequence[Json], resamples: int, seed: int) -> Json:
    """`rows`: scores of each start and number of examples over its seeds; `pairs`: second minus first."""
    check_same_items(documents)
    runs: Runs = {}
    for one in documents:
        runs.setdefault((one["examples"], one["start"]), {})[one["seed"]] = scores(one, resamples, seed)
    order = sorted(runs, key=lambda key: (key[0], key[1] != UNTOUCHED, key[1]))
    n = {(one["examples"], one["start"]): len(one["target"]["items"]) for one in documents}
    rows = [
        {
            "examples": key[0], "start": key[1], "seeds": sorted(runs[key]), "n": n[key],
            "metrics": {name: interval([one[name] for one in runs[key].values()]) for name in SCORES},
        }
        for key in order
    ]  # fmt: skip
    pairs = [pair(runs, first, second) for first, second in combinations(order, 2) if first[0] == second[0]]
    return {"rows": rows, "pairs": [row for row in pairs if row is not None]}


def pair(runs: Runs, first: tuple[int, str], second: tuple[int, str]) -> Json | None:
    """Every score of `second` minus `first` over the seeds that both have; None without such a seed."""
    seeds = sorted(set(runs[first]) & set(runs[second]))
    if not seeds:
        return None
    changes = {
        name: interval([runs[second][seed][name] - runs[first][seed][name] for seed in seeds])
        for name in SCORES
    }
    return {"examples": first[0], "first": first[1], "second": second[1], "seeds": seeds, "changes": changes}


def name_of(document: Json) -> str:
    """The file that a run is read from, from the study's folder."""
    return transfer_file(Path(), document["start"], document["examples"], document["seed"]).as_posix()


def check_same_items(documents: Sequence[Json]) -> None:
    """InputError naming a run of other test items than the first of its seed."""
    firsts: dict[int, Json] = {}
    for one in documents:
        first = firsts.setdefault(one["seed"], one)
        if identities(one) != identities(first):
            raise InputError(
                f"{name_of(one)}: other test items than {name_of(first)}; remove the older of the two and "
                "run the study again"
            )


def identities(document: Json) -> list[Json]:
    """What makes the test items of two runs the same: id and reference texts."""
    items = document["target"]["items"]
    texts = [item.get("references") or [item.get("reference")] for item in items]
    return [{"id": item.get("id"), "texts": own} for item, own in zip(items, texts, strict=True)]


def scores(document: Json, resamples: int, seed: int) -> Scores:
    """Every score of one run. Raises InputError where its items are damaged."""
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
        raise InputError(
            f"{name_of(document)} is damaged ({problem}); remove it and run the study again"
        ) from error
