"""The anchor that a run's configuration asks for: its texts, and the untouched model behind it
(grpo/anchor.py).
"""

from transformers import PreTrainedTokenizerBase

from data.errors import InputError
from data.sources.general_texts import control_texts
from data.stream import PromptStream
from eval.forgetting.probes import text_ids
from grpo.anchor import Anchor, AnchorFunction, unanchored
from grpo.engine.likelihood import first_ids
from grpo.engine.model import load_policy
from grpo.stages.context import Run, untouched_model
from grpo.stages.plan import ANCHOR_TOKENS

POOL = 256  # texts, other ones than those a tax budget is measured on


def anchored(run: Run, tokenizer: PreTrainedTokenizerBase, coef: float, max_tokens: int) -> AnchorFunction:
    """The anchor of weight `coef`, for which it loads the untouched model; none for 0. `max_tokens`: of a
    forward pass.
    """
    if not coef:
        return unanchored
    count = run.config.tax.anchor_texts
    ids = [text_ids(tokenizer, text)[:ANCHOR_TOKENS] for text in anchor_texts(run)]
    base = load_policy(
        untouched_model(run), run.compute.device, run.config.train.packed_attention
    ).requires_grad_(False)
    texts = PromptStream([one for one in ids if one], count, run.config.seed)
    run.say(
        f"held to the untouched model on {len(texts.examples)} general texts, {count} an update: {coef:g} x KL"
    )
    return Anchor(base, texts, first_ids(tokenizer), coef, max_tokens, run.compute, run.world)


def anchor_texts(run: Run) -> list[str]:
    """The texts behind those that a budget is kept on. Raises InputError, also where there are none."""
    tax = run.config.tax
    texts = control_texts(tax.text, tax.texts + POOL, run.cache)[tax.texts :]
    if not texts:
        raise InputError(
            f"tax.text = {tax.text}: has no text behind the first {tax.texts} (tax.texts), which are for measuring; an anchor needs "
            f"more of them, best {POOL} or more"
        )
    return texts
