"""The semantic terms: cosine of a completion and its reference texts, cut at a threshold and rescaled.

    R_sim = 0                    where s <= tau
          = (s - tau)/(1 - tau)  where s > tau        (arXiv 2605.14366, section on rewards)

With several reference texts s is the largest of their cosines, or their soft-max weighted mean. Vectors come
from `Vectors`, which embeds each reference text once; the product of vectors is in `reward.kernel`.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Protocol

import torch
from torch import Tensor

from reward.kernel import ragged_cosines, soft_maximum
from reward.rows import References, Texts, check_rows


class Vectors(Protocol):
    """Texts as unit vectors of D numbers; `reward.embedding.EmbeddingStore` is one."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """n texts -> (n, D) fp32."""
        ...

    def locate(self, texts: Sequence[str]) -> Tensor:
        """n reference texts -> (n,) int64 rows of `matrix`; new texts are embedded and kept."""
        ...

    @property
    def matrix(self) -> Tensor:
        """(R, D) fp32, contiguous; valid until the next call of `locate`."""
        ...


def rescale(cosines: Tensor, threshold: float) -> Tensor:
    """0 up to the threshold tau, from there linearly up to 1: (n,) -> (n,) fp32. Raises ValueError unless -1
    <= tau < 1.

    >>> rescale(torch.tensor([-0.5, 0.5, 0.75, 1.0]), 0.5).tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    if not -1 <= threshold < 1:
        raise ValueError(
            f"reward.threshold={threshold} must lie in [-1, 1): it is a cosine, and 1 would leave no reward"
        )
    cosines = cosines.double()
    return ((cosines - threshold) / (1 - threshold)).clamp_min(0).float()


def cosine_raw(
    sources: Texts, completions: Texts, references: References, *, vectors: Vectors, softness: float = 0.0
) -> Tensor:
    """Term: plain cosine of every completion and its reference texts: N rows -> (N,) fp32.

    Exactly 1 for a reference text itself, where rounding would give 1 - 1e-7. 0 for a completion without a
    letter or digit, since an encoder may place it near a short reference text.
    """
    check_rows(sources, completions, references)
    cosines = nearest(completions, references, vectors, softness)
    says_something = torch.tensor(
        [any(map(str.isalnum, completion)) for completion in completions], dtype=torch.bool
    )
    return torch.where(says_something, cosines, 0.0)


def cosine(
    sources: Texts, completions: Texts, references: References,
    *, vectors: Vectors, threshold: float, softness: float = 0.0,
) -> Tensor:  # fmt: skip
    """Term: the cut and rescaled cosine, in [0, 1]: N rows -> (N,) fp32."""
    return rescale(
        cosine_raw(sources, completions, references, vectors=vectors, softness=softness), threshold
    )


def cosine_held_out(
    sources: Texts, completions: Texts, references: References, *, held_out: Vectors
) -> Tensor:
    """Term for the log only: the plain cosine by an encoder that gives no reward: N rows -> (N,) fp32."""
    return cosine_raw(sources, completions, references, vectors=held_out)


def cosine_empty(sources: Texts, completions: Texts, references: References, *, vectors: Vectors) -> Tensor:
    """Term for the log only: the cosine of the empty text and the reference texts: N rows -> (N,) fp32."""
    return nearest([""] * len(completions), references, vectors, 0.0)


def nearest(completions: Texts, references: References, vectors: Vectors, softness: float) -> Tensor:
    """Cosine of each text and its reference texts, reduced by `soft_maximum` with `softness`: -> (N,) fp32."""
    texts = list(chain.from_iterable(references))
    offsets = torch.tensor([0, *accumulate(map(len, references))])
    rows = vectors.locate(texts)
    cosines = ragged_cosines(vectors.embed(completions), vectors.matrix, rows, offsets).cpu()
    repeats = chain.from_iterable(
        [text] * len(own_texts) for text, own_texts in zip(completions, references, strict=True)
    )
    same = torch.tensor(
        [text == reference for text, reference in zip(repeats, texts, strict=True)], dtype=torch.bool
    )
    return soft_maximum(torch.where(same, 1.0, cosines), offsets, softness)
