"""Times the cosine kernel against the plain formula and `sentence_transformers.util.pairwise_cos_sim`, all in
one process.

Run by benchmarks/reward.py with the Python of .venv-peers, or with the project's own, where the peer is
absent and so is its number. Every timed call gets rows that no call before it read, and the contenders take
turns. A benchmark, not a test.

The floor is what reading alone costs: completions in sequence (a sum over a large tensor) and references row
by row (`embedding_bag` in a few bags, which reads rows in the given order and writes next to nothing).
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reward.kernel import ragged_cosines

SIZES = [
    (1_000_000, 4096, 1),
    (1_000_000, 4096, 4),
    (15_000, 128, 1),
    (15_000, 128, 4),
    (15_000, 8, 1),
    (15_000, 1, 1),
]
DIM = 512
STREAM = 65_536  # rows of the sequential read
SECONDS = 6.0  # of each size


@dataclass(frozen=True)
class KernelRow:
    """Medians in milliseconds; `peer` None where sentence_transformers is absent; `gigabytes_per_second` of
    the bytes to be touched.
    """

    cached_rows: int
    completions: int
    most_references: int
    ours: float
    plain: float
    peer: float | None
    floor: float
    gigabytes_per_second: float
    largest_difference: float


@dataclass(frozen=True)
class Problem:
    completions: Tensor
    matrix: Tensor
    rows: Tensor
    offsets: Tensor


def ours(problem: Problem) -> Tensor:
    return ragged_cosines(problem.completions, problem.matrix, problem.rows, problem.offsets)


def gather_pairs(problem: Problem) -> tuple[Tensor, Tensor]:
    """The completion and the reference of every pair, gathered."""
    own = problem.completions
    if len(problem.rows) > len(own):
        own = own.repeat_interleave(problem.offsets.diff(), dim=0)
    return own, problem.matrix[problem.rows]


def plain(problem: Problem) -> Tensor:
    own, references = gather_pairs(problem)
    return (F.normalize(own, dim=1) * F.normalize(references, dim=1)).sum(dim=1)


def read_rows(problem: Problem) -> Tensor:
    """Read the references and no more: their sum in a few bags, so that every thread has some."""
    bags = min(len(problem.rows), 4 * torch.get_num_threads())
    starts = torch.arange(bags) * len(problem.rows) // bags
    return F.embedding_bag(problem.rows, problem.matrix, starts, mode="sum")


def peer() -> Callable[[Problem], Tensor] | None:
    try:
        from sentence_transformers.util import pairwise_cos_sim
    except ImportError:
        return None
    return lambda problem: pairwise_cos_sim(*gather_pairs(problem))


def seconds_of(work: Callable[[Any], object], problem: object) -> float:
    start = time.perf_counter()
    work(problem)
    return time.perf_counter() - start


def unit_rows(count: int, generator: torch.Generator) -> Tensor:
    """Made a block at a time, in place."""
    matrix = torch.empty(count, DIM)
    for block in matrix.split(STREAM):
        block.copy_(F.normalize(torch.randn(block.shape, generator=generator), dim=1))
    return matrix


def measure(matrix: Tensor, completions: int, references: int, generator: torch.Generator) -> KernelRow:
    """Rounds of everybody once, for some seconds; the first round does not count."""
    pools = [unit_rows(completions, generator) for _ in range(4)]

    def fresh(turn: int) -> Problem:
        counts = torch.randint(1, references + 1, (completions,), generator=generator)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        return Problem(
            pools[turn % 4],
            matrix,
            torch.randint(len(matrix), (int(offsets[-1]),), generator=generator),
            offsets,
        )

    contenders = {
        name: work
        for name, work in (("ours", ours), ("plain", plain), ("peer", peer()), ("rows", read_rows))
        if work
    }
    times: dict[str, list[float]] = {name: [] for name in (*contenders, "stream")}
    started = time.perf_counter()
    turn = 0
    while time.perf_counter() - started < SECONDS:
        for name, work in contenders.items():
            turn += 1
            times[name].append(seconds_of(work, fresh(turn)))
        start = turn * STREAM % max(1, len(matrix) - STREAM)
        stretch = matrix[start : start + STREAM]
        times["stream"].append(seconds_of(torch.sum, stretch) / stretch.numel())
    return kernel_row(
        fresh(0), references, {name: statistics.median(each[1:]) for name, each in times.items()}
    )


def kernel_row(sample: Problem, most_references: int, median: dict[str, float]) -> KernelRow:
    """The table's line from median seconds; "stream" is of one number."""
    completions = len(sample.completions)
    pairs = completions * (1 + most_references) / 2  # on average
    milliseconds = {name: 1000 * seconds for name, seconds in median.items()}
    return KernelRow(
        cached_rows=len(sample.matrix),
        completions=completions,
        most_references=most_references,
        ours=milliseconds["ours"],
        plain=milliseconds["plain"],
        peer=milliseconds.get("peer"),
        floor=milliseconds["rows"] + milliseconds["stream"] * (completions * DIM + 3 * pairs),
        gigabytes_per_second=(4 * DIM * (completions + pairs) + 12 * pairs) / median["ours"] / 1e9,
        largest_difference=(ours(sample) - plain(sample)).abs().max().item(),
    )


@torch.inference_mode()
def main() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.empty(0, DIM)
    for num_cached, completions, references in SIZES:
        if len(matrix) != num_cached:
            del matrix  # before the next one is made: the largest is 2 GB
            matrix = unit_rows(num_cached, generator)
        print(json.dumps(asdict(measure(matrix, completions, references, generator))), flush=True)


if __name__ == "__main__":
    main()
