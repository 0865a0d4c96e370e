"""Measures the alignment tax of one checkpoint: what it lost of the untouched model's abilities.

Three parts: probes (`probes.py`), drift from the untouched model (`drift.py`) on the panel's English and
Chinese texts ("general") and on prompts with their reference texts ("task"), and generation sanity
(`sanity.py`). Results are per item, so that checkpoints can be compared with intervals. `tax_scalar` is the
rise of the loss on general text in nats per token; it changes long before an accuracy does.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.prompt import Prompt
from data.sources.news import SEED
from eval.forgetting.bigbench import extended_items
from eval.forgetting.drift import TokenText, measure_drift
from eval.forgetting.probe_items import Panel, load_panel
from eval.forgetting.probes import run_questions, text_ids, text_result
from eval.forgetting.sanity import generation_sanity
from grpo.engine.likelihood import first_ids

TASK_TEXTS = 64
Tax = dict[str, Any]


def load_tax_panel(cache: Path, extended: bool = False) -> Panel:
    """The panel of general competence, obtained once into `cache`.

    `extended`: also the sets of questions of BIG-bench (358 MB).
    """
    panel = load_panel(cache)
    return replace(panel, extended=extended_items(cache)) if extended else panel


def general_texts(tokenizer: PreTrainedTokenizerBase, panel: Panel) -> list[TokenText]:
    """The panel's English texts, then its Chinese ones."""
    start = first_ids(tokenizer)
    return [
        TokenText(item.id, start, text_ids(tokenizer, item.text)) for item in (*panel.english, *panel.chinese)
    ]


def task_texts(prompt: Prompt, examples: Sequence[Example]) -> list[TokenText]:
    """The examples of `task_sample`: prompt and reference text, tokenised as in training."""
    return [task_text(prompt, example) for example in task_sample(examples)]


def task_sample(examples: Sequence[Example]) -> list[Example]:
    """A fixed random choice of `TASK_TEXTS` examples."""
    positions = sorted(random.Random(SEED).sample(range(len(examples)), min(TASK_TEXTS, len(examples))))
    return [examples[i] for i in positions]


def task_text(prompt: Prompt, example: Example) -> TokenText:
    """A prompt with its reference text, without the end token; the first token is only conditioned on."""
    ids = prompt.encode_prompt(example)
    start = ids[:1] if prompt.chat else first_ids(prompt.tokenizer)
    ids = ids[1:] if prompt.chat or prompt.tokenizer.bos_token_id is not None else ids
    return TokenText(example.id, start, ids + prompt.encode_completion(example.reference)[:-1])


def measure_tax(
    model: PreTrainedModel, base: PreTrainedModel, prompt: Prompt, panel: Panel, task: Sequence[Example]
) -> Tax:
    """Probes, drift and sanity of one checkpoint.

    `base` is the untouched model; the texts of the task are chosen from the examples `task`.

    The general texts run once, for drift and for bits per character. With `base` the same object as `model`
    every drift is exactly 0.
    """
    start = time.perf_counter()
    tokenizer = prompt.tokenizer
    drift = {
        "general": measure_drift(model, base, general_texts(tokenizer, panel)),
        "task": measure_drift(model, base, task_texts(prompt, task)),
    }
    nats = {row["id"]: row["nll"] for row in drift["general"]["items"]}
    texts = {"english": panel.english, "chinese": panel.chinese}
    probes = {name: text_result(items, [nats[item.id] for item in items]) for name, items in texts.items()}
    probes |= run_questions(model, tokenizer, panel)
    sanity = generation_sanity(model, tokenizer)
    return {"probes": probes, "drift": drift, "sanity": sanity, "seconds": time.perf_counter() - start}


def tax_scalar(tax: Tax) -> float:
    """The tax of a checkpoint in nats per token: mean rise of the loss on general text over the untouched model's."""
    return float(tax["drift"]["general"]["nll_change_mean"])
