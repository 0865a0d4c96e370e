"""The macro average of a model that several corpora test: the mean of each score over their test sets.

Each corpus counts as much, however many items it has. Intervals draw items inside each corpus and take the corpora as
given: they do not say what another choice of corpora would have given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.metrics.significance import Array, resample_counts
from eval.run_folder import SYSTEMS, Json, read_results, results_by_corpus, results_folder, shared_keys
from eval.systems import PAIRS, compare_scores, corpus_generator, groups_of, statistics, write_json


def macro_result(results: Mapping[str, Json]) -> Json:
    """The results on several corpora by name as one; a single result, whose name is "", as it is."""
    if "" in results:
        return results[""]
    each = [*results.values()]
    return {
        "system": each[0]["system"],
        "target_language": ", ".join(dict.fromkeys(one["target_language"] for one in each)),
        "metrics": {"all": macro_metrics([one["metrics"]["all"] for one in each])},
        **({"rewarded": each[0]["rewarded"]} if "rewarded" in each[0] else {}),
        **({"learned": each[0]["learned"]} if all("learned" in one for one in each) else {}),
        "corpora": dict(results),
    }


def number_of_items(result: Json) -> int:
    """Test items of all corpora."""
    return sum(len(one["items"]) for one in results_by_corpus(result).values())


def macro_metrics(metrics: Sequence[Json]) -> Json:
    """The mean of each score, one that a corpus lacks left out; n is the sum."""
    means = {key: sum(one[key] for one in metrics) / len(metrics) for key in shared_keys(metrics)}
    return means | {"n": sum(one["n"] for one in metrics)}


def corpus_counts(corpus: int, n: int, seed: int, resamples: int) -> Array:
    """(resamples, n): the draws of the items of the corpus in this place."""
    return resample_counts(n, corpus_generator(corpus, seed), resamples)


def compare_averages(
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    seed: int,
    resamples: int,
    *,
    by_document: bool = False,
) -> Json:
    """after - before of the macro average of every score, in the form of `compare_systems`."""
    corpora = [
        (rows_of(one), rows_of(after[name]), groups_of(one["items"], by_document))
        for name, one in before.items()
    ]
    changes = compare_scores(corpora, seed, resamples)
    names = [next(iter(one.values()))["system"] for one in (before, after)]
    return {"before": names[0], "after": names[1], "slices": {"all": changes}, "probes": None}


def rows_of(result: Json) -> dict[str, Array]:
    """The statistics of each item of a result."""
    return statistics(result["items"], result["target_language"])


def write_macro_comparison(
    run: Path, corpora: Sequence[str], seed: int, resamples: int, *, by_document: bool = False
) -> Json:
    """Compare the averages of each pair of systems and write `eval/comparison.json`: several corpora have no test set
    that is the run's own.
    """
    results = {name: read_results(run, name)[0] for name in corpora}
    shared = [name for name in SYSTEMS if all(name in own for own in results.values())]
    systems = {system: {name: own[system] for name, own in results.items()} for system in shared}
    pairs = [
        compare_averages(systems[before], systems[after], seed, resamples, by_document=by_document)
        for before, after in PAIRS
        if before in systems and after in systems
    ]
    comparison = {
        "method": "paired bootstrap inside each corpus, 95 % percentile interval; approximate randomisation",
        "by": "document" if by_document else "item",
        "corpora": [*corpora],
        "resamples": resamples,
        "seed": seed,
        "pairs": pairs,
    }
    write_json(results_folder(run) / "comparison.json", comparison)
    return comparison
