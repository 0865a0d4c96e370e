"""Runs the general-competence probes: abilities of the untouched model that training is not about.

Two kinds. Held-out text in English and Chinese: bits per character, -sum log2 p / characters; lower is
better, and it changes long before an accuracy does. Questions (capital cities, word analogies, Chinese
idioms, and further sets on request): the likeliest choice, by the summed log-probability and by that per
character; read the latter where choices differ in length. Items and their order are fixed
(`eval.forgetting.probe_items`), so two models are compared item by item: a paired bootstrap over texts, the
exact McNemar test over questions.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids as text_ids
from data.sources.news import TextItem
from eval.forgetting.probe_items import ChoiceItem, Panel
from eval.metrics.significance import (
    RESAMPLES,
    mcnemar,
    paired_bootstrap,
    ratio_of_sums,
    resample_counts,
    transitions,
    wilson_interval,
)
from eval.run_folder import questions_of
from grpo.engine.likelihood import Team, first_ids, log_likelihoods

TEXT_PROBES = ("english", "chinese")


def bits_per_character(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[TextItem],
    team: Team | None = None,
) -> dict[str, Any]:
    """Bits of each text and over all of them: -sum log p / ln 2 / characters."""
    start = first_ids(tokenizer)
    scores = log_likelihoods(
        model, [start] * len(items), [[text_ids(tokenizer, item.text)] for item in items], team
    )
    return text_result(items, [-score[0] for score in scores])


def text_result(items: Sequence[TextItem], nats: Sequence[float]) -> dict[str, Any]:
    """The result of a text probe from -sum log p of each text."""
    bits = [value / math.log(2) for value in nats]
    rows = [
        {"id": item.id, "bits": value, "characters": len(item.text)}
        for item, value in zip(items, bits, strict=True)
    ]
    characters = sum(len(item.text) for item in items)
    return {
        "n": len(items),
        "characters": characters,
        "bits_per_character": sum(bits) / characters,
        "items": rows,
    }


def choice_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[ChoiceItem],
    team: Team | None = None,
) -> dict[str, Any]:
    """Share of items whose right choice is the likeliest, summed and per character, with Wilson intervals."""
    contexts = [first_ids(tokenizer) + text_ids(tokenizer, item.context) for item in items]
    scores = log_likelihoods(
        model, contexts, [[text_ids(tokenizer, choice) for choice in item.choices] for item in items], team
    )
    rows = [choice_result(item, values) for item, values in zip(items, scores, strict=True)]
    right, right_per_character = (sum(row[key] for row in rows) for key in ("right", "right_per_character"))
    return {
        "n": len(rows),
        "chance": sum(1 / len(item.choices) for item in items) / len(items),
        "accuracy": right / len(rows),
        "accuracy_interval": wilson_interval(right, len(rows)),
        "accuracy_per_character": right_per_character / len(rows),
        "accuracy_per_character_interval": wilson_interval(right_per_character, len(rows)),
        "items": rows,
    }


def choice_result(item: ChoiceItem, scores: Sequence[float]) -> dict[str, Any]:
    """Whether the likeliest choice is the right one, by both scores; of equal choices the first counts."""
    per_character = [score / len(choice.strip()) for score, choice in zip(scores, item.choices, strict=True)]
    return {
        "id": item.id,
        "right": int(np.argmax(scores)) == item.answer,
        "right_per_character": int(np.argmax(per_character)) == item.answer,
    }


def run_probes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, panel: Panel, team: Team | None = None
) -> dict[str, Any]:
    """The whole panel for one model, with item-level results and the seconds it took. A `team` shares it, and
    each process of it calls this.
    """
    start = time.perf_counter()
    texts = {"english": panel.english, "chinese": panel.chinese}
    results = {name: bits_per_character(model, tokenizer, items, team) for name, items in texts.items()}
    return {**results, **run_questions(model, tokenizer, panel, team), "seconds": time.perf_counter() - start}


def run_questions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, panel: Panel, team: Team | None = None
) -> dict[str, Any]:
    """Every set of questions of the panel that has any, by name."""
    return {name: choice_accuracy(model, tokenizer, items, team) for name, items in panel.questions().items()}


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
