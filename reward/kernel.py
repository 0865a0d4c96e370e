"""Cosines of unit vectors, completions x references: each completion has its own number of references, given
as rows of one matrix.

    cosine_j = <completion_i, matrix[rows_j]>        offsets_i <= j < offsets_(i + 1)

On the CPU it takes one pass over memory: the pairs are the pattern of a sparse matrix, and
`torch.sparse.sampled_addmm` computes only its elements, so no row is copied. Elsewhere rows are gathered in
blocks of fixed shape. Either way the order of a pair's sum depends on D alone, so its cosine has the same
bits in any batch, in any place and with any number of threads. It is not a search (every pair is given), not
differentiable, and does not normalise: the caller gives unit rows.
"""

import math
import warnings
from functools import cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 1024  # pairs gathered at a time off the CPU
ALIGNED = 4  # numbers of 4 bytes in one vector load of an accelerator


def ragged_cosines(completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """Cosine of each completion and each of its references: (N, D), (R, D), (K,), (N + 1,) -> (K,) fp32 in
    [-1, 1].

    Vectors are fp32 unit rows; `rows` may repeat and come in any order. Raises ValueError for shapes, offsets
    or rows that do not fit.

    >>> east, north = torch.eye(2)
    >>> ragged_cosines(torch.stack([east, north]), torch.stack([east, -north]), torch.tensor([1, 0, 1]), torch.tensor([0, 2, 3])).tolist()
    [0.0, 1.0, -1.0]
    """
    _check_vectors(completions, matrix, rows, offsets)
    if not len(rows):
        return completions.new_empty(0)
    pairs = _in_one_pass if completions.is_cpu else _in_blocks
    return pairs(completions.detach(), matrix.detach(), rows.long(), offsets.long()).clamp_(-1, 1)


def soft_maximum(cosines: Tensor, offsets: Tensor, softness: float) -> Tensor:
    """Reduce each segment `offsets_i <= j < offsets_(i + 1)` to one number: (K,), (N + 1,) -> (N,) fp32.

    The largest for softness 0, else sum_j softmax(s / softness)_j s_j: with growing softness it goes from the
    largest to the mean, and never leaves [min, max]. Costs N x the longest segment. Raises ValueError for an
    empty segment or a negative softness.

    >>> soft_maximum(torch.tensor([0.25, 0.75, 0.5]), torch.tensor([0, 2, 3]), 0.0).tolist()
    [0.75, 0.5]
    """
    if not 0 <= softness < math.inf:
        raise ValueError(
            f"reward.softness={softness} must be 0 (the largest cosine counts) or a finite positive number"
        )
    counts = _check_segments(offsets, len(cosines))
    if not len(counts):
        return cosines.new_empty(0, dtype=torch.float32)
    place = torch.arange(int(counts.max()), device=cosines.device)
    outside = place >= counts[:, None]  # (N, longest)
    grid = cosines.double()[(offsets[:-1, None] + place).masked_fill(outside, 0)].masked_fill(outside, 0.0)
    largest = grid.masked_fill(outside, -math.inf).amax(dim=1)
    if softness == 0:
        return largest.float()
    weights = ((grid - largest[:, None]) / softness).masked_fill(outside, -math.inf).exp()
    mean = _sum_in_order(weights * grid) / _sum_in_order(weights)
    return mean.clamp(grid.masked_fill(outside, math.inf).amin(dim=1), largest).float()


def _sum_in_order(grid: Tensor) -> Tensor:
    """Sum each row from left to right. `Tensor.sum` picks an order by the width, which other rows change."""
    return reduce(torch.add, grid.unbind(dim=1))


def _in_one_pass(completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """(K,) dot products. Row i of the sparse pattern is completion i, its columns are rows of `matrix`,
    neither sorted nor unique.
    """
    _silence_beta_warning()
    values = completions.new_zeros(len(rows))
    pattern = torch.sparse_csr_tensor(
        offsets, rows, values, size=(len(completions), len(matrix)), check_invariants=False
    )
    torch.sparse.sampled_addmm(pattern, completions.contiguous(), matrix.t(), beta=0.0, out=pattern)
    return values  # the pattern's own storage


@cache
def _silence_beta_warning() -> None:
    """Use up PyTorch's warning, once per process, that sparse CSR is in beta. The tests pin what is used of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [0.0], size=(1, 1), check_invariants=False)


def _in_blocks(completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """(K,) dot products in blocks of one shape, the last one padded: the order of a sum may depend on the shape."""
    owners = torch.repeat_interleave(offsets.diff(), output_size=len(rows))
    missing = -len(rows) % BLOCK
    blocks = zip(
        F.pad(owners, (0, missing)).split(BLOCK), F.pad(rows, (0, missing)).split(BLOCK), strict=True
    )
    # a row that starts off a vector's boundary would be summed in another order
    padding = -completions.shape[1] % ALIGNED
    products = (completions.index_select(0, owner) * matrix.index_select(0, row) for owner, row in blocks)
    return torch.cat([F.pad(product, (0, padding)).sum(dim=1) for product in products])[: len(rows)]


def _check_vectors(completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor) -> None:
    if completions.dim() != 2 or matrix.dim() != 2 or completions.shape[1] != matrix.shape[1]:
        raise ValueError(
            f"completions (N, D) and matrix (R, D) are needed, got {tuple(completions.shape)} and {tuple(matrix.shape)}"
        )
    if completions.dtype != torch.float32 or matrix.dtype != torch.float32 or not matrix.is_contiguous():
        raise ValueError(
            f"fp32 vectors and a contiguous matrix are needed, got {completions.dtype} and {matrix.dtype} {matrix.stride()}"
        )
    if rows.dim() != 1 or len(offsets) != len(completions) + 1:
        raise ValueError(
            f"rows (K,) and offsets (N + 1,) are needed, got {tuple(rows.shape)} and {tuple(offsets.shape)}"
        )
    _check_segments(offsets, len(rows))
    if len(rows):
        low, high = (int(end) for end in rows.aminmax())
        if low < 0 or high >= len(matrix):
            raise ValueError(f"rows must lie in [0, {len(matrix)}), got {low} to {high}")


def _check_segments(offsets: Tensor, total: int) -> Tensor:
    """(N + 1,) -> members of each segment (N,). Raises ValueError unless the offsets rise from 0 to `total`."""
    counts = offsets.diff()
    if int(offsets[0]) != 0 or int(offsets[-1]) != total or (len(counts) and int(counts.min()) < 1):
        raise ValueError(
            f"offsets must rise from 0 to {total}, each segment with at least one member, got {offsets.tolist()}"
        )
    return counts
