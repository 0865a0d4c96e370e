"""How well paired vectors find each other: top-1, AUC and its bootstrap interval. Pure functions.

For query i the right answer is row i and every other row is a distractor. AUC is the probability that the
right answer scores above a distractor, averaged over queries (.5 = chance); unlike top-1 it does not fall
with more distractors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 2000
CONFIDENCE = 0.95
ROWS = 1024  # queries scored at once: bounds memory


@dataclass(frozen=True)
class Retrieval:
    """Shares in [0, 1] over `n` queries; `auc_low` and `auc_high` bound the 95 % percentile bootstrap over queries."""

    n: int
    top1: float
    auc: float
    auc_low: float
    auc_high: float

    def __str__(self) -> str:
        return f"top-1 {self.top1:.3f}, AUC {self.auc:.4f} ({self.auc_low:.4f} to {self.auc_high:.4f}), n = {self.n}"


def figure_lines(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """A line for each figure of a finished student: whose it is -> task -> the numbers of a Retrieval."""
    return [
        f"{name}, {task}: {Retrieval(**numbers)}"  # type: ignore[arg-type]
        for name, scores in figures.items()
        for task, numbers in scores.items()
    ]


def retrieval(queries: Tensor, answers: Tensor, seed: int = 0) -> Retrieval:
    """Search row i of `queries` among all `answers`, where row i is right: two (n, D) tensors of unit rows, n
    >= 2. Raises ValueError.
    """
    shares = ranks_below(queries, answers)
    low, high = bootstrap_mean(shares, seed)
    return Retrieval(len(shares), (shares == 1).double().mean().item(), shares.mean().item(), low, high)


def ranks_below(queries: Tensor, answers: Tensor) -> Tensor:
    """Per query, the share of other answers that score below the right one, ties half: (n, D), (n, D) -> (n,)
    fp64.

    >>> ranks_below(torch.eye(3), torch.eye(3)[[0, 2, 1]]).tolist()
    [1.0, 0.25, 0.25]
    """
    if queries.shape != answers.shape or queries.dim() != 2 or len(queries) < 2:
        shapes = f"{tuple(queries.shape)} and {tuple(answers.shape)}"
        raise ValueError(f"retrieval needs two (n, D) tensors of one shape with n >= 2, got {shapes}")
    below = [_below(queries[start : start + ROWS], answers, start) for start in range(0, len(queries), ROWS)]
    return torch.cat(below) / (len(queries) - 1)


def _below(queries: Tensor, answers: Tensor, start: int) -> Tensor:
    """The number of distractors below the right answer, a tie counting half: (m,) fp64. The right answer ties
    with itself.
    """
    scores = queries @ answers.T
    right = scores.gather(1, torch.arange(start, start + len(queries), device=scores.device)[:, None])
    return (scores < right).double().sum(dim=1) + 0.5 * ((scores == right).double().sum(dim=1) - 1)


def bootstrap_mean(values: Tensor, seed: int = 0) -> tuple[float, float]:
    """Ends of the percentile interval of the mean of (n,) values under resampling with replacement."""
    numbers = values.double().numpy()
    generator = np.random.default_rng(seed)
    means = [numbers[generator.integers(0, len(numbers), len(numbers))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
