"""The semantic term: cosine of completion and reference text in the encoder's space, cut below a threshold and rescaled.

    R_sim = 0                    where s <= tau
          = (s - tau)/(1 - tau)  where s > tau                                        (arXiv 2605.14366, section on rewards)

Not an encoder: vectors come in, or a function that makes them.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Embed = Callable[[Sequence[str]], Tensor]  # n texts -> (n, D)


def paired_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of row i of `a` and row i of `b`, in [-1, 1]; 0 where a row is zero: (n, D), (n, D) -> (n,) fp32.

    In fp64, so that a vector against itself gives exactly 1.

    >>> paired_cosine(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[6.0, 8.0], [0.0, -2.0]])).tolist()
    [1.0, 0.0]
    """
    if a.shape != b.shape or a.dim() != 2:
        raise ValueError(f"paired_cosine needs two (n, D) tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.double(), b.double()
    norms = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(dim=1) / norms.clamp_min(torch.finfo(torch.float64).tiny)).clamp(-1, 1).float()


def rescaled(cosines: Tensor, threshold: float) -> Tensor:
    """0 up to the threshold tau, from there linearly up to 1: (n,) -> (n,) fp32. Raises ValueError unless -1 <= tau < 1.

    >>> rescaled(torch.tensor([-0.5, 0.5, 0.75, 1.0]), 0.5).tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    if not -1 <= threshold < 1:
        raise ValueError(f"reward.threshold={threshold} must lie in [-1, 1): it is a cosine, and 1 would leave no reward")
    cosines = cosines.double()
    return ((cosines - threshold) / (1 - threshold)).clamp_min(0).float()


def cosine_raw(sources: Sequence[str], completions: Sequence[str], references: Sequence[str], *, embed: Embed) -> Tensor:
    """Term: plain cosine of every completion and its reference text, one call of `embed`: N strings each -> (N,) fp32.

    0 for a completion without any letter or digit: it says nothing, yet an encoder may place it near a short reference text.
    """
    if not len(sources) == len(completions) == len(references):
        raise ValueError(f"a term needs lists of one length, got {len(sources)}, {len(completions)}, {len(references)}")
    vectors = embed([*completions, *references])
    cosines = paired_cosine(vectors[: len(completions)], vectors[len(completions) :])
    says_something = torch.tensor([any(map(str.isalnum, completion)) for completion in completions], dtype=torch.bool)
    return torch.where(says_something, cosines, 0.0)


def cosine(
    sources: Sequence[str], completions: Sequence[str], references: Sequence[str], *, embed: Embed, threshold: float
) -> Tensor:
    """Term: the cut and rescaled cosine, in [0, 1]: N strings each -> (N,) fp32."""
    return rescaled(cosine_raw(sources, completions, references, embed=embed), threshold)
