"""Files of pairs whose texts are invented words; a pair is a number, and no two numbers share a word."""

import random
from pathlib import Path
from typing import Any

from data.config import DataConfig, check
from data.prepare import Corpus, prepare


def words(number: int) -> str:
    """Ten words that no other number has."""
    draw = random.Random(number)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(10))


def write_pairs(path: Path, numbers: list[int], change: str = "") -> str:
    lines = [f"{words(number)}{change}\t{words(number + 10_000)}\n" for number in numbers]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def write_texts(path: Path, numbers: list[int]) -> str:
    path.write_text("".join(f"{words(number)}\n" for number in numbers), encoding="utf-8")
    return str(path)


def aligned(folder: Path, name: str, numbers: list[int]) -> str:
    """Two aligned files as FLORES and NTREX are."""
    offsets = {"src": 0, "ref": 10_000}
    return ",".join(
        write_texts(folder / f"{name}.{side}", [number + offset for number in numbers])
        for side, offset in offsets.items()
    )


def prepare_pairs(folder: Path, **settings: Any) -> tuple[Corpus, list[str]]:
    """A corpus of these words, and what was said on the way."""
    lines: list[str] = []
    config = DataConfig(source_language="sw", target_language="en", **settings)
    check(config)
    return prepare(config, folder / "cache", lines.append), lines
