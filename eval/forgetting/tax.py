"""The alignment tax of one checkpoint: what it lost of what the untouched model could do, measured on things that training is not about.

Probes (`eval.probes`), drift from the untouched model (`eval.drift`) on the panel's English and Chinese texts ("general") and on prompts
with their reference texts ("task"), generation sanity (`eval.sanity`); item by item, so that checkpoints can be compared with intervals.
The one number, `tax_scalar`, is the rise of the loss on general text in nats per token: it moves long before any accuracy does.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.examples import Example
from data.sources.news import SEED
from data.template import prompt_text
from eval.forgetting.bigbench import extended_items
from eval.forgetting.drift import TokenText, measure_drift
from eval.forgetting.probe_items import Panel, load_panel
from eval.forgetting.probes import compare_probes, paired, run_questions, text_ids, text_result
from eval.forgetting.sanity import generation_sanity
from eval.metrics.significance import RESAMPLES, Array, Difference, mcnemar, paired_bootstrap, ratio_of_sums, resample_counts
from grpo.engine.likelihood import first_ids

TASK_TEXTS = 64
Tax = dict[str, Any]


def load_tax_panel(cache: Path, extended: bool = False) -> Panel:
    """The panel of general competence, obtained once into `cache`; `extended`: with the sets of questions of BIG-bench (358 MB)."""
    panel = load_panel(cache)
    return replace(panel, extended=extended_items(cache)) if extended else panel


def general_texts(tokenizer: Any, panel: Panel) -> list[TokenText]:
    """The panel's English texts, then its Chinese ones."""
    start = first_ids(tokenizer)
    return [TokenText(item.id, start, text_ids(tokenizer, item.text)) for item in (*panel.english, *panel.chinese)]


def task_texts(tokenizer: Any, examples: Sequence[Example]) -> list[TokenText]:
    """A fixed choice of `TASK_TEXTS` examples, in their order: the prompt, then the reference text, tokenised apart as in training."""
    start = first_ids(tokenizer)
    chosen = sorted(random.Random(SEED).sample(range(len(examples)), min(TASK_TEXTS, len(examples))))
    texts = ((examples[i].id, text_ids(tokenizer, prompt_text(examples[i])), text_ids(tokenizer, examples[i].reference)) for i in chosen)
    return [TokenText(name, start, prompt + reference) for name, prompt, reference in texts]


def measure_tax(model: Any, base: Any, tokenizer: Any, panel: Panel, task: Sequence[Example]) -> Tax:
    """Everything about one checkpoint; `base` is the untouched model, `task` the examples among which the texts of the task are chosen.

    The general texts run once, for drift and for bits per character. With `base` the same object as `model` every drift is exactly 0.
    """
    began = time.perf_counter()
    drift = {
        "general": measure_drift(model, base, general_texts(tokenizer, panel)),
        "task": measure_drift(model, base, task_texts(tokenizer, task)),
    }
    nats = {row["id"]: row["nll"] for row in drift["general"]["items"]}
    texts = {"english": panel.english, "chinese": panel.chinese}
    probes = {name: text_result(items, [nats[item.id] for item in items]) for name, items in texts.items()}
    probes |= run_questions(model, tokenizer, panel)
    sanity = generation_sanity(model, tokenizer)
    return {"probes": probes, "drift": drift, "sanity": sanity, "seconds": time.perf_counter() - began}


def per_token(rows: Sequence[dict[str, Any]], key: str) -> Array:
    """(texts, 2) rows (nats, tokens), whose ratio of sums is nats per token."""
    return np.asarray([[row[key], row["tokens"]] for row in rows], dtype=np.float64)


def tax_scalar(tax: Tax) -> float:
    """The tax of a checkpoint in nats per token: mean rise of the loss on general text over the untouched model's."""
    return float(tax["drift"]["general"]["nll_change_mean"])


def tax_interval(tax: Tax, seed: int, resamples: int = RESAMPLES) -> Difference:
    """`tax_scalar` as the difference of the losses per token before and after, with its interval over texts."""
    rows = tax["drift"]["general"]["items"]
    counts = resample_counts(len(rows), np.random.default_rng(seed), resamples)
    return paired_bootstrap(per_token(rows, "nll_base"), per_token(rows, "nll"), ratio_of_sums, counts)


def compare_tax(before: Tax, after: Tax, seed: int, resamples: int = RESAMPLES) -> dict[str, Any]:
    """after - before. `probes`: as `eval.probes.compare_probes`; `drift`: part -> nll and kl, each a paired bootstrap over texts, in nats a
    token; `sanity`: language -> McNemar over whether an output is in its script. Raises ValueError where the items differ.

    The difference of the general nll is the difference of the two taxes.
    """
    return {
        "probes": compare_probes(before["probes"], after["probes"], seed, resamples),
        "drift": {part: compare_drift(before["drift"][part], after["drift"][part], seed, resamples) for part in before["drift"]},
        "sanity": {language: compare_sanity(before["sanity"][language], after["sanity"][language]) for language in before["sanity"]},
    }


def compare_drift(before: dict[str, Any], after: dict[str, Any], seed: int, resamples: int) -> dict[str, Any]:
    """The change of the loss and of the KL divergence in nats per token."""
    list(paired(before, after, "tokens"))
    counts = resample_counts(len(before["items"]), np.random.default_rng(seed), resamples)
    sides = {key: [per_token(side["items"], key) for side in (before, after)] for key in ("nll", "kl")}
    return {key: asdict(paired_bootstrap(first, second, ratio_of_sums, counts)) for key, (first, second) in sides.items()}


def compare_sanity(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The change of the share of outputs in the expected script."""
    ((first, second),) = paired(before, after, "in_script")
    return {"difference": after["in_script_share"] - before["in_script_share"], **asdict(mcnemar(first, second))}
