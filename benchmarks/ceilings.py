"""What this machine can do at most, measured: square matrix products, copying, reading in sequence, reading
random rows.

Best of several, because noise only ever slows; the product again and again through a run, because a shared
machine changes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from grpo.runtime.device import Compute, synchronise

ROW = 512  # numbers of a gathered row: the width of the default sentence encoder


@dataclass(frozen=True)
class Ceilings:
    """`product_samples`: operations/s, one for each time it was measured; `bandwidths`: bytes/s, copied ones
    counted twice.
    """

    side: int
    product_samples: tuple[float, ...]
    bandwidths: Mapping[str, float]

    @property
    def product_rate(self) -> float:
        return max(self.product_samples)


def best_seconds(call: Callable[[], object], compute: Compute, repeats: int) -> float:
    """The quickest of `repeats` runs after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        synchronise(compute)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def product_rate(compute: Compute, side: int) -> float:
    """Operations a second of a square matrix product, the result written where it was before."""
    a, b, out = (
        torch.randn(side, side, device=compute.device, dtype=compute.format.forward) for _ in range(3)
    )
    return float(2 * side**3 / best_seconds(lambda: torch.mm(a, b, out=out), compute, 8))


def bandwidths(compute: Compute, size: int) -> dict[str, float]:
    """Bytes a second over `size` bytes, more than any cache holds."""
    source = torch.randn(size // 4 // ROW, ROW, device=compute.device)
    target = torch.empty_like(source)
    rows = torch.randperm(len(source), device=compute.device)
    return {
        "copy": 2 * source.nbytes / best_seconds(lambda: target.copy_(source), compute, 6),
        "read": source.nbytes / best_seconds(source.sum, compute, 6),
        "gather": 2
        * source.nbytes
        / best_seconds(lambda: torch.index_select(source, 0, rows, out=target), compute, 6),
    }
