"""The anchor of a run (grpo/anchor.py): its general texts and the untouched model, by the configuration."""

from transformers import PreTrainedTokenizerBase

from data.errors import InputError
from data.sources.general_texts import control_texts
from data.stream import PromptStream
from eval.forgetting.probes import text_ids
from grpo.anchor import Anchor, AnchorFunction, unanchored
from grpo.engine.likelihood import first_ids
from grpo.engine.model import load_policy
from grpo.stages.context import Run, start_folder
from grpo.stages.plan import ANCHOR_TOKENS

POOL = 256  # texts of an anchor; a tax budget is measured on others


def make_anchor(run: Run, tokenizer: PreTrainedTokenizerBase, coef: float, max_tokens: int) -> AnchorFunction:
    """The anchor of weight `coef`, with the untouched model loaded; without weight one that adds nothing. A
    forward pass gets no more than `max_tokens`.
    """
    if not coef:
        return unanchored
    count = run.config.tax.anchor_texts
    ids = [text_ids(tokenizer, text)[:ANCHOR_TOKENS] for text in anchor_texts(run)]
    base = load_policy(
        start_folder(run), run.compute.device, run.config.train.packed_attention
    ).requires_grad_(False)
    texts = PromptStream([one for one in ids if one], count, run.config.seed)
    run.say(
        f"anchor to the untouched model on {len(texts.examples)} general texts, {count} an update: {coef:g} x KL"
    )
    return Anchor(base, texts, first_ids(tokenizer), coef, max_tokens, run.compute, run.world)


def anchor_texts(run: Run) -> list[str]:
    """The general texts behind those that a tax budget is measured on. Raises InputError where there are
    none.
    """
    tax = run.config.tax
    texts = control_texts(tax.text, tax.texts + POOL, run.cache)[tax.texts :]
    if not texts:
        raise InputError(
            f"tax.text = {tax.text}: has no text behind the first {tax.texts} (tax.texts), which are for measuring; an anchor needs "
            f"more of them, best {POOL} or more"
        )
    return texts
