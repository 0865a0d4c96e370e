"""Pools token vectors into one vector per text, the six poolings of sentence-transformers by their names there, and
runs a head on such vectors.

Pure functions (hidden (n, T, D), mask (n, T) True = counts) -> (n, D). Masked values never reach the result,
not even an infinity. Position 0 is the text's first token: padding is on the right. Not here: models,
tokenizers, length of the result.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BLOCK_ROWS = (
    64  # rows of every product in a head: fixed, so that a row's bits do not depend on the number of texts
)
Head = Callable[[Tensor], Tensor]  # (BLOCK_ROWS, D) -> (BLOCK_ROWS, ...)


def in_blocks(head: Head, rows: Tensor) -> Tensor:
    """Run `head` on exactly BLOCK_ROWS rows at a time, the last block padded with zeros: (n, D) -> (n, ...)."""
    padded_rows = torch.cat([rows, rows.new_zeros(-len(rows) % BLOCK_ROWS, rows.shape[1])])
    return torch.cat([head(block) for block in padded_rows.split(BLOCK_ROWS)])[: len(rows)]


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The first token that counts (CLS)."""
    return _at(hidden, mask.int().argmax(dim=1))


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last token that counts."""
    return _at(hidden, mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1))


def largest(hidden: Tensor, mask: Tensor) -> Tensor:
    """The largest value of every coordinate."""
    return hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Sum over tokens / number of tokens.

    >>> mean(torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[2.0, 4.0]]
    """
    return _sum(hidden, mask) / mask.sum(dim=1, keepdim=True)


def mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    """Sum over tokens / square root of their number."""
    return _sum(hidden, mask) / mask.sum(dim=1, keepdim=True).sqrt()


def position_weighted(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean weighted with the position 1, 2, ... of every token from the start of the text (Muennighoff 2022, SGPT)."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (torch.where(mask[..., None], hidden, 0) * weights[..., None]).sum(dim=1) / weights.sum(
        dim=1, keepdim=True
    )


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first_token,
    "max": largest,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_sqrt,
    "weightedmean": position_weighted,
    "lasttoken": last_token,
}


def pool(hidden: Tensor, lengths: Tensor, names: Sequence[str], skip: int = 0) -> Tensor:
    """Concatenate the poolings `names`, without the first `skip` tokens: (n, T, D), lengths (n,) -> (n,
    len(names) * D).

    Of a text of at most `skip` tokens only the last token counts.
    """
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    mask = (positions >= (lengths - 1).clamp(max=skip)[:, None]) & (positions < lengths[:, None])
    return torch.cat([POOLINGS[name](hidden, mask) for name in names], dim=1)


def blank_row(dim: int) -> Tensor:
    """The unit vector of a text without tokens, (dim,): a fixed direction, since a zero vector has no cosine."""
    return torch.full((dim,), dim**-0.5).where(torch.arange(dim) % 2 == 0, -(dim**-0.5))


def _sum(hidden: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask[..., None], hidden, 0).sum(dim=1)


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), positions]
