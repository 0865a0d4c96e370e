"""Results on another task than the study's own: their scores with resamples, and whether their test items are the same."""

from collections.abc import Hashable, Sequence

from data.errors import InputError
from eval.macro import corpus_counts
from eval.run_folder import DAMAGE, Json, results_by_corpus
from eval.study.estimates import Scores, corpus_estimates, macro_estimates


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
    """What makes the test items of two runs the same: corpus, id and reference texts."""
    return [
        {"corpus": name, "id": item.get("id"), "texts": item.get("references") or [item.get("reference")]}
        for name, result in results_by_corpus(document["target"]).items()
        for item in result["items"]
    ]


def scores(document: Json, name: str, resamples: int, seed: int) -> Scores:
    """Every score of one result, which is read from the file `name`. Raises InputError where its items are damaged."""
    try:
        return macro_estimates(
            corpus_estimates(document["target"], lambda corpus, n: corpus_counts(corpus, n, seed, resamples))
        )
    except DAMAGE as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{name} is damaged ({problem}); remove it and run the study again") from error
