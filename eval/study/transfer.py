"""Compares starts of few-shot transfer: every start against every other after fine-tuning on another task.

One document is one run: {"start", "examples", "seed", "target"}, `target` as `eval.systems.evaluate_system`
returns it. All runs of a seed are judged on the same test items, with the same resamples.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from eval.macro import number_of_items
from eval.report.learned import common_facts
from eval.run_folder import Json, shared_keys
from eval.study.estimates import Scores, interval, result_scores
from eval.study.layout import transfer_file
from eval.study.points import UNTOUCHED, check_same, identities

Runs = dict[tuple[int, str], dict[int, Scores]]  # (examples, start) -> seed -> scores


def transfer_figures(documents: Sequence[Json], resamples: int, seed: int) -> Json:
    """`rows`: scores of each start and number of examples over its seeds; `pairs`: second minus first."""
    check_same("test items", ((one["seed"], name_of(one), identities(one["target"])) for one in documents))
    runs: Runs = {}
    for one in documents:
        runs.setdefault((one["examples"], one["start"]), {})[one["seed"]] = result_scores(
            one, name_of(one), resamples, seed
        )
    order = sorted(runs, key=lambda key: (key[0], key[1] != UNTOUCHED, key[1]))
    n = {(one["examples"], one["start"]): number_of_items(one["target"]) for one in documents}
    rows = [
        {
            "examples": key[0], "start": key[1], "seeds": sorted(runs[key]), "n": n[key],
            "metrics": {
                name: interval([one[name] for one in runs[key].values()]) for name in shared_keys(runs[key].values())
            },
        }
        for key in order
    ]  # fmt: skip
    pairs = [pair(runs, first, second) for first, second in combinations(order, 2) if first[0] == second[0]]
    facts = common_facts([one["target"] for one in documents])
    figures = {"rows": rows, "pairs": [row for row in pairs if row is not None]}
    return figures | ({"learned": facts} if facts else {})


def pair(runs: Runs, first: tuple[int, str], second: tuple[int, str]) -> Json | None:
    """Every score of `second` minus `first` over the seeds that both have; None without such a seed."""
    seeds = sorted(set(runs[first]) & set(runs[second]))
    if not seeds:
        return None
    changes = {
        name: interval([runs[second][seed][name] - runs[first][seed][name] for seed in seeds])
        for name in shared_keys([runs[key][seed] for key in (first, second) for seed in seeds])
    }
    return {"examples": first[0], "first": first[1], "second": second[1], "seeds": seeds, "changes": changes}


def name_of(document: Json) -> str:
    """The file that a run is read from, from the study's folder."""
    return transfer_file(Path(), document["start"], document["examples"], document["seed"]).as_posix()
