"""Measures the data stage on synthetic pairs: `python -m benchmarks.corpus --pairs 100000`.

Words are random letters with frequencies after Zipf's law; a text has 10 to 30 of them, and one pair in twenty
repeats an earlier one with a word changed on each side. A child process prepares the corpus; printed is a line
of the table in docs/corpus.md: pairs, seconds, processor seconds, those of a million pairs, and the largest
resident memory in MB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = 50_000
CHUNK = 10_000  # pairs
NEAR_DUPLICATES = 0.05
CHILD = "child"


def vocabulary(seed: int) -> NDArray[np.str_]:
    """Random words of 2 to 9 letters, (WORDS,)."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(3, 3 + len(letters))
    sizes = random.integers(2, 10, WORDS)
    rows = random.choice(letters, size=(WORDS, 9), p=weights / weights.sum())
    return np.array(["".join(row[:size]) for row, size in zip(rows, sizes, strict=True)])


def pairs(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` pairs of texts, a function of (count, seed)."""
    sides = (vocabulary(seed), vocabulary(seed + 1))
    weights = 1 / np.arange(1, WORDS + 1)
    steps = np.cumsum(weights / weights.sum())
    for start in range(0, count, CHUNK):
        random = np.random.default_rng((seed, start))
        size = min(CHUNK, count - start)
        lengths = random.integers(10, 31, (2, size))
        words = np.minimum(np.searchsorted(steps, random.random((2, size, 30))), WORDS - 1)
        for item in np.flatnonzero(random.random(size) < NEAR_DUPLICATES):
            earlier = int(random.integers(0, item)) if item else 0
            lengths[:, item] = lengths[:, earlier]
            words[:, item] = words[:, earlier]
            words[:, item, random.integers(0, 10, 1)] = random.integers(0, WORDS, (2, 1))
        for item in range(size):
            source, reference = (
                " ".join(sides[side][words[side, item, : lengths[side, item]]]) for side in (0, 1)
            )
            yield source, reference


def write_corpus(path: Path, count: int, seed: int = 0) -> None:
    """Write the pairs as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        for source, reference in pairs(count, seed):
            file.write(json.dumps({"source": source, "reference": reference}) + "\n")


def prepare_corpus(path: Path, cache: Path) -> None:
    """The child: prepare the corpus and print what it took as JSON in the last line."""
    from data.config import DataConfig
    from data.prepare import prepare

    start = time.perf_counter()
    config = DataConfig(
        corpus=str(path), source_language="sw", target_language="en", max_source_units=40, max_target_units=40
    )
    prepare(config, cache)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": usage.ru_maxrss * 1024}))


def measure(count: int, folder: Path) -> dict[str, float]:
    """Seconds and peak bytes of the data stage of `count` pairs, in a child process of its own."""
    corpus = folder / "pairs.jsonl"
    write_corpus(corpus, count)
    command = [sys.executable, "-m", "benchmarks.corpus", f"--{CHILD}", str(corpus), str(folder / "cache")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    print(result.stdout, file=sys.stderr)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    """Print a line of the table in docs/corpus.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the corpus and its cache; else a temporary one")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    parser.add_argument(f"--{CHILD}", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        prepare_corpus(*arguments.child)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        facts = measure(arguments.pairs, Path(folder))
    if arguments.json:
        print(json.dumps(facts))
        return
    millions = arguments.pairs / 1e6
    print(
        f"| {arguments.pairs:,} | {facts['seconds']:.0f} | {facts['cpu']:.0f} | "
        f"{facts['cpu'] / millions:.0f} | {facts['peak'] / 1e6:.0f} |"
    )


if __name__ == "__main__":
    main()
