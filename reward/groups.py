"""Statistics inside groups, of values of which some may be missing (NaN, or infinite). Pure; fp64 inside, because the
fp32 mean of equal values is not exactly their value.
"""

import torch
from torch import Tensor


def deviations(grouped: Tensor) -> tuple[Tensor, Tensor]:
    """(P, G) values -> (P, G) fp64: each minus the mean of those present in its row, 0 where missing; and (P,
    1) how many are present.

    >>> import torch
    >>> deviations(torch.tensor([[1.0, 3.0, torch.nan]]))
    (tensor([[-1.,  1.,  0.]], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    values = grouped.double()
    missing = ~values.isfinite()
    count = (~missing).sum(dim=1, keepdim=True).double()
    mean = values.masked_fill(missing, 0.0).sum(dim=1, keepdim=True) / count.clamp_min(1)
    return (values - mean).masked_fill(missing, 0.0), count


def standard_deviation(deviation: Tensor, count: Tensor) -> Tensor:
    """What `deviations` returns -> (P, 1) standard deviation of each row, over n - 1."""
    return (deviation.square().sum(dim=1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()


def group_ranks(values: Tensor) -> Tensor:
    """(P, G) values -> (P, G) fp64: the rank of each in its row, 0 for the lowest to 1 for the highest; equal values
    share the mean of their ranks, and a lone value has 0.5. NaN stays NaN and takes no part.

    >>> group_ranks(torch.tensor([[0.3, 9.0, 0.3, torch.nan]])).tolist()
    [[0.25, 1.0, 0.25, nan]]
    """
    exact = values.double()
    missing = exact.isnan()
    lower = (exact[:, :, None] > exact[:, None, :]).sum(dim=2)
    equal = (exact[:, :, None] == exact[:, None, :]).sum(dim=2)  # with itself
    count = (~missing).sum(dim=1, keepdim=True)
    ranks = (lower + (equal - 1) / 2).double() / (count - 1).clamp_min(1)
    return torch.where(count > 1, ranks, 0.5).masked_fill(missing, torch.nan)
