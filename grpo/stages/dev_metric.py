"""The score of the dev set that chooses the best checkpoint (`eval.best_by`): one that the run does not reward."""

from collections.abc import Callable, Mapping, Sequence

from data.examples import Example
from eval.metrics import overlap, rouge
from eval.metrics.similarity import cosines
from grpo.stages.context import Run
from grpo.stages.mixing import runs_by_language
from grpo.stages.reward_setup import held_out_store, metrics_of, store_of
from reward.embedding import EmbeddingStore

DevMetric = Callable[[Sequence[Example], Sequence[str]], float]
COSINES = ("cosine", "cosine_held_out")


def dev_metric(run: Run) -> DevMetric | None:
    """(examples, outputs) -> the score over all of them, as the evaluation counts it; None for the reward itself.
    A learned metric counts as its term does: higher is better.
    """
    name = run.config.eval.best_by
    if name == "reward":
        return None
    if name in run.config.reward.metrics:
        scorer = metrics_of(run)[name]
        return lambda examples, outputs: float(
            scorer.rewards([one.source for one in examples], outputs, texts_of(examples)).double().mean()
        )
    if name in COSINES:
        stores = run.world.first_then_all(lambda: stores_of(run, name))
        return lambda examples, outputs: mean_cosine(stores, examples, outputs)
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


def stores_of(run: Run, name: str) -> dict[str, EmbeddingStore]:
    """The vectors by which the outputs in each target language are scored."""
    runs = runs_by_language(run)
    if name == "cosine":
        return {language: store_of(own) for language, own in runs.items()}
    return dict.fromkeys(runs, held_out_store(run))


def mean_cosine(
    stores: Mapping[str, EmbeddingStore], examples: Sequence[Example], outputs: Sequence[str]
) -> float:
    """The mean over all examples; each by the vectors of its target language where there are several."""
    total = 0.0
    for language, store in stores.items():
        rows = [
            row for row, one in enumerate(examples) if len(stores) == 1 or one.target_language == language
        ]
        texts = texts_of([examples[row] for row in rows])
        total += sum(cosines([outputs[row] for row in rows], texts, store.embed))
    return total / len(examples)


def texts_of(examples: Sequence[Example]) -> list[Sequence[str]]:
    """The reference texts of each example."""
    return [example.references for example in examples]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
