"""Runs the general-competence probes: abilities of the untouched model that training is not about.

Two kinds. Held-out text in English and Chinese: bits per character, -sum log2 p / characters; lower is
better, and it changes long before an accuracy does. Questions (capital cities, word analogies, Chinese
idioms, and further sets on request): the likeliest choice, by the summed log-probability and by that per
character; read the latter where choices differ in length. Items and their order are fixed
(`eval.forgetting.probe_items`), so two models are compared item by item (`eval.forgetting.probe_changes`).
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids as text_ids
from data.sources.news import TextItem
from eval.forgetting.probe_items import ChoiceItem, Panel
from eval.metrics.significance import wilson_interval
from grpo.engine.likelihood import Team, first_ids, log_likelihoods


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
