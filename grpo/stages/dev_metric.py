"""The score of the dev set that chooses the best checkpoint (`eval.best_by`): one that the run does not reward."""

from collections.abc import Callable, Sequence

from data.examples import Example
from eval.metrics import overlap, rouge
from eval.metrics.similarity import cosines
from grpo.stages.context import Run
from grpo.stages.reward_setup import held_out_store, store_of

DevMetric = Callable[[Sequence[Example], Sequence[str]], float]
STORES = {"cosine": store_of, "cosine_held_out": held_out_store}


def dev_metric(run: Run) -> DevMetric | None:
    """(examples, outputs) -> the score over all of them, as the evaluation counts it; None for the reward itself."""
    name = run.config.eval.best_by
    if name == "reward":
        return None
    if name in STORES:
        store = run.world.first_then_all(lambda: STORES[name](run))
        return lambda examples, outputs: mean(cosines(outputs, texts_of(examples), store.embed))
    language = run.config.data.completion_language
    scores: dict[str, DevMetric] = {
        "chrf": lambda examples, outputs: float(
            overlap.chrf_of_sums(overlap.chrf_statistics(outputs, texts_of(examples)).sum(axis=0))
        ),
        "bleu": lambda examples, outputs: float(
            overlap.bleu_of_sums(overlap.bleu_statistics(outputs, texts_of(examples), language).sum(axis=0))
        ),
        "rouge_l": lambda examples, outputs: mean(rouge.rouge_l(outputs, texts_of(examples))),
    }
    return scores[name]


def texts_of(examples: Sequence[Example]) -> list[Sequence[str]]:
    """The reference texts of each example."""
    return [example.references for example in examples]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
