"""What the new pieces of model.add_pieces change before any training: tokens a unit, and the loss on general text."""

import json
import math
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids
from data.errors import InputError
from data.examples import Example
from data.obtain import UnobtainableError
from data.prompt import Prompt
from data.tokens import token_report
from grpo.engine.extended import FACTS
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.model import load_tokenizer
from grpo.stages.context import Run, base_model, load_model, load_prompt, untouched_model
from grpo.stages.tax_guard import texts_of

MOST_CHARACTERS = 300  # of a general text
LARGEST_TAX = 0.01  # nats a token; more is refused
UNITS = ("tokens_per_source_unit", "tokens_per_reference_unit")


def measure_pieces(
    run: Run, prompt: Prompt, examples: Sequence[Example], after: dict[str, Any]
) -> dict[str, Any]:
    """How many pieces are new, tokens a unit [without, with] them, and the tax of the model that has them.

    `after` is the token report with them. The tax is "" where a run measures nothing on general text. Raises
    InputError for a tax above LARGEST_TAX.
    """
    config = run.config
    limits = config.model.max_prompt_tokens, config.rollout.max_new_tokens
    before = token_report(load_prompt(run, base_model(run)), examples, *limits)
    count = len(json.loads((untouched_model(run).files() / FACTS).read_text(encoding="utf-8")))
    facts: dict[str, Any] = {"pieces": count}
    facts |= {name: [before[name], after[name]] for name in UNITS}
    changes = ", ".join(
        f"{before[name]:.2f} -> {after[name]:.2f} tokens a {side} unit"
        for name, side in zip(UNITS, ("source", "reference"), strict=True)
    )
    run.say(f"new pieces: {count:,} of model.add_pieces = {config.model.add_pieces:,}; {changes}")
    if not (config.eval.probes or config.tax.text or config.tax.budget):
        return facts | {"tax": ""}
    try:
        texts = texts_of(run)
    except UnobtainableError as error:
        run.say(f"the tax of the new pieces is not measured: {error}")
        return facts | {"tax": ""}
    facts["tax"] = tax_of_pieces(run, prompt.tokenizer, texts)
    run.say(f"new pieces: {facts['tax']:+.4f} nats a token on general text before any training")
    if facts["tax"] > LARGEST_TAX:
        raise InputError(
            f"model.add_pieces={config.model.add_pieces}: before any training the {count:,} new pieces make general "
            f"text {facts['tax']:.4f} nats a token less likely, more than {LARGEST_TAX}; try model.add_pieces={count // 2}"
        )
    return facts


def tax_of_pieces(run: Run, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Nats by which the same texts are less likely with the new pieces, for each old token."""
    base = base_model(run)
    old = load_tokenizer(base)
    beginnings = [text[:MOST_CHARACTERS] for text in texts]
    before = total_nll(load_model(run, base), old, beginnings)
    after = total_nll(load_model(run, untouched_model(run)), tokenizer, beginnings)
    return (after - before) / sum(len(text_ids(old, text)) for text in beginnings)


def total_nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Nats of all texts together."""
    choices = [[text_ids(tokenizer, text)] for text in texts]
    return -math.fsum(
        score for (score,) in log_likelihoods(model, [first_ids(tokenizer)] * len(texts), choices)
    )
