"""The scores of a result on another task than the study's own, with resamples."""

from eval.macro import corpus_counts
from eval.run_folder import Json, named_damage
from eval.study.estimates import Scores, corpus_estimates, macro_estimates


def scores(document: Json, name: str, resamples: int, seed: int) -> Scores:
    """Every score of one result, which is read from the file `name`. Raises InputError where its items are damaged."""
    with named_damage(f"{name} is damaged", "remove it and run the study again"):
        return macro_estimates(
            corpus_estimates(document["target"], lambda corpus, n: corpus_counts(corpus, n, seed, resamples))
        )
