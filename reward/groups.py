"""Statistics inside groups, of values of which some may be missing (NaN). Pure; fp64 inside, because the fp32 mean
of equal values is not exactly their value.
"""

from torch import Tensor


def deviations(grouped: Tensor) -> tuple[Tensor, Tensor]:
    """(P, G) values -> (P, G) fp64: each minus the mean of those present in its row, 0 where missing; and (P,
    1) how many are present.

    >>> import torch
    >>> deviations(torch.tensor([[1.0, 3.0, torch.nan]]))
    (tensor([[-1.,  1.,  0.]], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    values = grouped.double()
    missing = values.isnan()
    count = (~missing).sum(dim=1, keepdim=True).double()
    mean = values.masked_fill(missing, 0.0).sum(dim=1, keepdim=True) / count.clamp_min(1)
    return (values - mean).masked_fill(missing, 0.0), count


def standard_deviation(deviation: Tensor, count: Tensor) -> Tensor:
    """What `deviations` returns -> (P, 1) standard deviation of each row, over n - 1."""
    return (deviation.square().sum(dim=1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()
