"""One piece of work -> its median seconds by torch.utils.benchmark, its minor page faults, and its share of
what the machine could do.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

from benchmarks.ceilings import Ceilings
from grpo.runtime.device import Compute, synchronise


@dataclass(frozen=True)
class Work:
    """Something to do again and again, and what it cannot avoid; `traffic`: how it reaches memory, a name in
    Ceilings.bandwidths.
    """

    name: str
    call: Callable[[], object]
    flops: float
    bytes: float
    traffic: str = "read"


@dataclass(frozen=True)
class Row:
    """One line of the table. `seconds` is the median, `spread` its interquartile range / median; faults are
    of one call.
    """

    name: str
    seconds: float
    spread: float
    flops: float
    bytes: float
    traffic: str
    page_faults: float

    def of_product_rate(self, ceilings: Ceilings) -> float:
        return self.flops / self.seconds / ceilings.product_rate

    def of_bound(self, ceilings: Ceilings) -> float:
        """The least time that the ceilings allow (products or memory, whatever takes longer) / the time it took."""
        least = max(self.flops / ceilings.product_rate, self.bytes / ceilings.bandwidths[self.traffic])
        return least / self.seconds


def minor_faults() -> int:
    """Pages that this process touched for the first time since the kernel gave them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure(work: Work, compute: Compute, seconds: float) -> Row:
    """For `seconds` or two runs, whatever is longer, after two runs that do not count: one here, one with
    which the timer begins.
    """
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        work.call()
        synchronise(compute)

    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    calls = 0
    faults = minor_faults()
    result = timer.blocked_autorange(min_run_time=max(seconds, 1.5 * once))
    per_call = (minor_faults() - faults) / calls
    return Row(
        work.name, result.median, result.iqr / result.median, work.flops, work.bytes, work.traffic, per_call
    )


def difference(name: str, long: Row, short: Row, parts: int, flops: float, num_bytes: float) -> Row:
    """What each of `parts` equal parts takes that `long` does after `short`."""
    seconds = max((long.seconds - short.seconds) / parts, 1e-9)
    spread = (long.spread * long.seconds + short.spread * short.seconds) / parts / seconds
    return Row(
        name,
        seconds,
        spread,
        flops,
        num_bytes,
        long.traffic,
        max(0.0, long.page_faults - short.page_faults) / parts,
    )
