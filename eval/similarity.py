"""Cosine between outputs and their reference texts.

The encoder is passed in. Where it is the encoder that also gave the reward, the number is partly the training objective, and the
report says so; chrF and BLEU were never rewarded.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

Embed = Callable[[Sequence[str]], Tensor]


def cosines(outputs: Sequence[str], references: Sequence[str], embed: Embed) -> list[float]:
    """Cosine of each output with its reference text, both embedded in one call; an empty output scores 0.

    `embed`: n texts -> (n, D) rows of unit length.
    """
    if len(outputs) != len(references):
        raise ValueError(f"{len(outputs)} outputs for {len(references)} reference texts")
    if not outputs:
        return []
    rows = embed([*outputs, *references]).double().cpu()
    paired = (rows[: len(outputs)] * rows[len(outputs) :]).sum(dim=-1).tolist()
    return [value if output.strip() else 0.0 for value, output in zip(paired, outputs, strict=True)]
