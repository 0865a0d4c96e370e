"""The reward's own table for `make bench`: the cosine kernel against its peers, and the embedding cache on
disk.

The kernel is timed by peer_cosine.py in a process of its own, so that 2 GB of vectors are gone afterwards and
so that the peer's environment can run it. A benchmark, not a test: it asserts nothing.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peer_cosine import KernelRow
from reward.embedding import EmbeddingStore

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
RECORDS = (10_000, 100_000)
ASKED = 4096  # texts of one question to the cache
QUESTIONS = 9


@dataclass(frozen=True)
class CacheRow:
    """`add` and `open` are seconds per 1,000 records (written and synced; read and verified), the others
    texts per second.
    """

    records: int
    add: float
    open: float
    open_gigabytes_per_second: float
    locate: float
    embed: float


class FakeEncoder:
    """Random vectors; `seconds` is the time it took for them, which is not the cache's."""

    dim = 512
    fingerprint = "0" * 64

    def __init__(self) -> None:
        self.seconds = 0.0
        self.generator = torch.Generator().manual_seed(0)

    def encode(self, texts: Sequence[str]) -> Tensor:
        start = time.perf_counter()
        rows = torch.nn.functional.normalize(
            torch.randn(len(texts), self.dim, generator=self.generator), dim=1
        )
        self.seconds += time.perf_counter() - start
        return rows


def measure_kernel() -> list[KernelRow]:
    """One row for each size in peer_cosine.py."""
    if not PEERS.exists():
        print("no .venv-peers (make bench-peers makes it): the kernel is timed without sentence_transformers")
    python = str(PEERS) if PEERS.exists() else sys.executable
    command = [python, "-m", "benchmarks.peer_cosine"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rows = [KernelRow(**json.loads(line)) for line in process.stdout]
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with exit code {process.returncode}; its message is above"
        )
    return rows


def measure_cache() -> list[CacheRow]:
    with tempfile.TemporaryDirectory() as folder:
        return [_cache_row(records, Path(folder) / str(records)) for records in RECORDS]


def _cache_row(records: int, folder: Path) -> CacheRow:
    texts = [f"{number} 打开文件 {number % 7}" for number in range(records)]
    encoder = FakeEncoder()
    store = EmbeddingStore(encoder, folder)
    adding = _seconds(lambda: store.remember(texts)) - encoder.seconds
    opening = _seconds(lambda: EmbeddingStore(encoder, folder))
    store = EmbeddingStore(encoder, folder)
    chosen = torch.randint(records, (QUESTIONS, ASKED), generator=torch.Generator().manual_seed(1)).tolist()
    questions = [[texts[place] for place in places] for places in chosen]
    completions = [f"新 {number}" for number in range(ASKED)]
    store.embed(completions)
    locate = statistics.median(_seconds(partial(store.locate, asked)) for asked in questions)
    embed = statistics.median(_seconds(lambda: store.embed(completions)) for _ in questions)
    size = records * (FakeEncoder.dim * 4 + 20)
    return CacheRow(
        records,
        1000 * adding / records,
        1000 * opening / records,
        size / opening / 1e9,
        ASKED / locate,
        ASKED / embed,
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def print_kernel(rows: Sequence[KernelRow]) -> None:
    print(
        f"{'cached rows':>11}{'completions':>13}{'refs':>6}{'ours ms':>10}{'plain':>8}{'peer':>8}{'floor':>8}{'GB/s':>7}{'error':>9}"
    )
    for row in rows:
        references = f"1-{row.most_references}" if row.most_references > 1 else "1"
        peer = f"{row.peer / row.ours:.1f}x" if row.peer else "-"
        plain = f"{row.plain / row.ours:.1f}x"
        floor = f"{row.ours / row.floor:.2f}x"
        print(
            f"{row.cached_rows:>11,}{row.completions:>13,}{references:>6}{row.ours:>10.3f}{plain:>8}{peer:>8}{floor:>8}"
            f"{row.gigabytes_per_second:>7.1f}{row.largest_difference:>9.0e}"
        )
    print(
        "plain, peer: their time / ours; floor: ours / reading the same bytes; medians, in turns in one process, on rows not read before"
    )


def print_cache(rows: Sequence[CacheRow]) -> None:
    print(
        f"{'records':>11}{'add ms/1,000':>14}{'open ms/1,000':>15}{'open GB/s':>11}{'located/s':>12}{'embedded again/s':>18}"
    )
    for row in rows:
        print(
            f"{row.records:>11,}{1000 * row.add:>14.1f}{1000 * row.open:>15.1f}{row.open_gigabytes_per_second:>11.2f}"
            f"{row.locate:>12,.0f}{row.embed:>18,.0f}"
        )


def measure_reward() -> list[KernelRow | CacheRow]:
    """Both tables, printed."""
    print(f"reward: cosine kernel, {FakeEncoder.dim} dimensions, {torch.get_num_threads()} threads")
    kernel = measure_kernel()
    print_kernel(kernel)
    print(f"reward: embedding cache on disk, {FakeEncoder.dim} dimensions")
    cache = measure_cache()
    print_cache(cache)
    return [*kernel, *cache]


if __name__ == "__main__":
    measure_reward()
