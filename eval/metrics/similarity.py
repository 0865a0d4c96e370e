"""Cosine between outputs and their reference texts.

The encoder is passed in. Where it is the encoder that also gave the reward, the number is partly the training
objective, and the report says so; chrF and BLEU were never rewarded.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise

import torch
from torch import Tensor

Embed = Callable[[Sequence[str]], Tensor]


def cosines(outputs: Sequence[str], references: Sequence[Sequence[str]], embed: Embed) -> list[float]:
    """Cosine of each output with the nearest of its reference texts; an empty output scores 0.

    `embed`: n texts -> (n, D) rows of unit length, called once. `references`: one or more texts of each
    output.
    """
    if len(outputs) != len(references):
        raise ValueError(f"{len(outputs)} outputs for the reference texts of {len(references)}")
    if not outputs:
        return []
    rows = embed([*outputs, *chain.from_iterable(references)]).double().cpu()
    counts = [len(texts) for texts in references]
    output_rows = rows[: len(outputs)].repeat_interleave(torch.tensor(counts), dim=0)
    of_pairs = (output_rows * rows[len(outputs) :]).sum(dim=-1).tolist()
    best = [max(of_pairs[start:end]) for start, end in pairwise(accumulate(counts, initial=0))]
    return [value if output.strip() else 0.0 for value, output in zip(best, outputs, strict=True)]
