"""Checks whether a checkpoint continues a text in the text's own language, by greedy continuations of Chinese
and English beginnings.

A model trained to answer in one script may answer everything in it, stop at once, or repeat itself; the
probabilities of given texts show none of these. The beginnings were written for this project. The outputs are
stored for the reader.
"""

from typing import Any

import torch

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
        "\u6bcf\u5929\u65e9\u4e0a\uff0c\u7237\u7237\u90fd\u4f1a\u53bb\u516c\u56ed\u91cc",
        "\u5b66\u597d\u4e00\u95e8\u5916\u8bed\u6700\u91cd\u8981\u7684\u662f",
        "\u51ac\u5929\u4e0b\u4e86\u5927\u96ea\u4ee5\u540e\uff0c\u5b69\u5b50\u4eec",
        "\u8fd9\u5bb6\u533b\u9662\u7684\u533b\u751f\u8bf4\uff0c",
        "\u4eca\u5e74\u5929\u6c14\u5e72\u65f1\uff0c\u519c\u6c11\u4eec\u62c5\u5fc3",
        "\u706b\u8f66\u516b\u70b9\u51fa\u53d1\uff0c\u6240\u4ee5\u6211\u4eec",
        "\u4e00\u4e2a\u597d\u8001\u5e08\u5e94\u8be5",
        "\u505a\u8fd9\u9053\u83dc\u4e4b\u524d\uff0c\u5148\u8981\u628a",
        "\u56fe\u4e66\u9986\u661f\u671f\u4e00\u4e0d\u5f00\u95e8\uff0c\u4f46\u662f",
        "\u4f4f\u5728\u6d77\u8fb9\u7684\u4eba\u5927\u591a",
        "\u5e02\u957f\u6628\u5929\u8868\u793a\uff0c\u65b0\u5efa\u7684\u5927\u6865",
        "\u6211\u7684\u5bb6\u4e61\u6709\u4e00\u6761\u5c0f\u6cb3\uff0c",
    ),
}


def repeated_share(text: str) -> float:
    """The share of a text's pairs of neighbouring units (words, Han characters) that occurred in it before.

    >>> repeated_share("go on and go on and go on")  # 7 pairs, 3 different ones
    0.5714285714285714
    """
    pairs = ngrams(units(text), NGRAM)
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def continuations(model: Any, tokenizer: Any, beginnings: tuple[str, ...]) -> list[str]:
    """Greedy continuations of the beginnings, up to the end token or `NEW_TOKENS`."""
    prompts = [first_ids(tokenizer) + text_ids(tokenizer, beginning) for beginning in beginnings]
    sampling = Sampling(1, NEW_TOKENS, temperature=0.0, stop_ids=(tokenizer.eos_token_id,))
    with torch.inference_mode():
        rollout = generate(model, prompts, sampling, seed=(0,))
    return [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in rollout.completions()]


def sanity_of(language: str, beginnings: tuple[str, ...], outputs: list[str]) -> dict[str, Any]:
    """Shares of outputs in the expected script and of empty ones, the mean share of repetition, and every
    output.
    """
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


def generation_sanity(model: Any, tokenizer: Any) -> dict[str, Any]:
    """language -> its shares and outputs."""
    return {
        language: sanity_of(language, texts, continuations(model, tokenizer, texts))
        for language, texts in BEGINNINGS.items()
    }
