"""The anchor of a run (grpo/anchor.py): its general texts and the untouched model, by the configuration."""

from itertools import cycle, islice

from transformers import PreTrainedTokenizerBase

from data.errors import InputError
from data.sources.general_texts import COLLECTIONS, NEWS, named_texts, read_general_texts
from data.stream import PromptStream
from eval.forgetting.probes import text_ids
from grpo.anchor import Anchor, AnchorFunction, no_anchor
from grpo.config import EARLIER_TASKS
from grpo.engine.likelihood import first_ids
from grpo.stages.context import Run, frozen_model, untouched_model
from grpo.stages.earlier_tasks import texts_of_tasks


def make_anchor(run: Run, tokenizer: PreTrainedTokenizerBase, coef: float, max_tokens: int) -> AnchorFunction:
    """The anchor of weight `coef`, with the untouched model loaded; without weight one that adds nothing. A
    forward pass gets no more than `max_tokens`.
    """
    if not coef:
        return no_anchor
    count = run.config.anchor.batch_size
    base = frozen_model(run, untouched_model(run))
    texts = PromptStream(anchor_ids(run, tokenizer), count, run.config.seed)
    kinds = f" ({', '.join(run.config.anchor.sources)})" if run.config.anchor.sources else ""
    run.say(
        f"anchor to the untouched model on {len(texts.examples)} general texts{kinds}, {count} an update: {coef:g} x KL"
    )
    return Anchor(base, texts, first_ids(tokenizer), coef, max_tokens, run.compute, run.world)


def anchor_ids(run: Run, tokenizer: PreTrainedTokenizerBase, count: int = 0) -> list[list[int]]:
    """The token ids of `anchor_texts`, each cut to `anchor.max_tokens`, without empty ones; and whole pairs of earlier tasks.
    Raises InputError.
    """
    ids = [text_ids(tokenizer, text)[: run.config.anchor.max_tokens] for text in anchor_texts(run, count)]
    number = shares(run, count).get(EARLIER_TASKS, 0)
    pairs = texts_of_tasks(run, tokenizer, number) if number else []
    found = [one for one in (*ids, *pairs) if one]
    if not found:
        raise InputError("anchor.sources has no text to learn from; add news=1 to it")
    return found


def anchor_texts(run: Run, count: int = 0) -> list[str]:
    """Up to `count` texts of the anchor's file or mixture (0: `anchor.texts` of them), without those that a tax is
    measured on. Raises InputError, also where none is left.
    """
    tax = run.config.tax
    own = run.config.anchor.text
    count = count or run.config.anchor.texts
    if run.config.anchor.sources:
        return mixed_texts(run, count)
    setting = "anchor.text" if own else "tax.text"
    texts = read_general_texts(own or tax.text, tax.texts + count, run.cache, setting)
    if tax.budget or not own:
        measured_texts = set(read_general_texts(tax.text, tax.texts, run.cache))
        texts = [text for text in texts if text not in measured_texts]
    if not texts:
        raise InputError(
            f"{setting} = {own or tax.text}: has no text besides the first {tax.texts} (tax.texts) of tax.text, which are for "
            f"measuring; an anchor needs more of them, best {count} or more"
        )
    return texts[:count]


def mixed_texts(run: Run, count: int) -> list[str]:
    """The share of each of `anchor.sources`, but for earlier tasks, which are no texts. A source that has fewer has them
    several times, so that updates see the shares.
    """
    tax = run.config.tax
    numbers = shares(run, count)
    numbers.pop(EARLIER_TASKS, None)
    is_measured = tax.budget > 0 or NEWS in numbers
    measured_texts = set(read_general_texts(tax.text, tax.texts, run.cache)) if is_measured else set()
    mixed: list[str] = []
    for name, number in numbers.items():
        setting = f"anchor.sources ({', '.join((*COLLECTIONS, EARLIER_TASKS))}, or a file)"
        found = named_texts(name, number + tax.texts, run.cache, setting)
        texts = [text for text in found if text not in measured_texts]
        if not texts:
            raise InputError(f"anchor.sources.{name}: has no text besides those of tax.text; leave it out")
        mixed += islice(cycle(texts), number)
    return mixed


def shares(run: Run, count: int = 0) -> dict[str, int]:
    """How many texts of `count` (0: of `anchor.texts`) each of `anchor.sources` gives: by its weight, one at least."""
    sources = run.config.anchor.sources
    count = count or run.config.anchor.texts
    return {name: max(1, round(count * weight / sum(sources.values()))) for name, weight in sources.items()}
