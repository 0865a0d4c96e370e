"""Checks whether a checkpoint continues a text in the text's own language, by greedy continuations of Chinese
and English beginnings.

A model trained to answer in one script may answer everything in it, stop at once, or repeat itself; the
probabilities of given texts show none of these. The beginnings were written for this project. The outputs are
stored for the reader.
"""

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eval.forgetting.probes import text_ids
from grpo.engine.likelihood import first_ids
from grpo.engine.sampler import Sampling, generate
from reward.script import is_consistent
from reward.units import ngrams, units

NEW_TOKENS = 24
NGRAM = 2
MIN_SHARE = 0.8  # of the letters in the expected script: a foreign name is no failure
SCRIPTS = {"english": "Latn", "chinese": "Hani"}
BEGINNINGS = {
    "english": (
        "In the morning the old man opened his window and",
        "The best way to learn a new language is",
        "When water is heated for a long time, it",
        "My sister works in a hospital, where she",
        "Farmers in the valley were worried last summer because",
        "The train to the coast leaves at eight, so we",
        "A good teacher always",
        "After the rain had stopped, the children",
        "The museum is closed on Mondays, but",
        "Most people who live near the sea",
        "To make a simple soup, first",
        "The mayor said on Friday that the new bridge",
    ),
    "chinese": (
        "每天早上，爷爷都会去公园里",
        "学好一门外语最重要的是",
        "冬天下了大雪以后，孩子们",
        "这家医院的医生说，",
        "今年天气干旱，农民们担心",
        "火车八点出发，所以我们",
        "一个好老师应该",
        "做这道菜之前，先要把",
        "图书馆星期一不开门，但是",
        "住在海边的人大多",
        "市长昨天表示，新建的大桥",
        "我的家乡有一条小河，",
    ),
}


def repeated_share(text: str) -> float:
    """The share of a text's pairs of neighbouring units (words, Han characters) that occurred in it before.

    >>> repeated_share("go on and go on and go on")  # 7 pairs, 3 different ones
    0.5714285714285714
    """
    pairs = ngrams(units(text), NGRAM)
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def continuations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, beginnings: tuple[str, ...]
) -> list[str]:
    """Greedy continuations of the beginnings, up to the end token or `NEW_TOKENS`."""
    prompts = [first_ids(tokenizer) + text_ids(tokenizer, beginning) for beginning in beginnings]
    sampling = Sampling(1, NEW_TOKENS, temperature=0.0, stop_ids=(tokenizer.eos_token_id,))
    with torch.inference_mode():
        rollout = generate(model, prompts, sampling, seed=(0,))
    return [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in rollout.completions()]


def sanity_of(language: str, beginnings: tuple[str, ...], outputs: list[str]) -> dict[str, Any]:
    """Shares of outputs in the expected script and of empty ones, the mean share of repetition, and every output."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"{language}:{number}",
            "prompt": beginning,
            "output": output,
            "in_script": is_consistent(output, SCRIPTS[language], min_share=MIN_SHARE),
            "empty": not output,
            "repeated": repeated_share(output),
        }
        for number, (beginning, output) in enumerate(zip(beginnings, outputs, strict=True), 1)
    ]
    shares = {
        f"{key}_share": sum(row[key] for row in rows) / len(rows)
        for key in ("in_script", "empty", "repeated")
    }
    return {"n": len(rows), "script": SCRIPTS[language], **shares, "items": rows}


def generation_sanity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """language -> its shares and outputs."""
    return {
        language: sanity_of(language, texts, continuations(model, tokenizer, texts))
        for language, texts in BEGINNINGS.items()
    }
