"""A user's corpus of made-up pairs, and what preparing it says."""

import json
import random
from pathlib import Path

from data.config import DataConfig
from data.prepare import Corpus, prepare


def line(generator: random.Random, syllables: int = 6, characters: int = 6) -> dict[str, str]:
    source = "\u0f0b".join(
        chr(generator.randint(0x0F40, 0x0F47)) + chr(generator.randint(0x0F58, 0x0F67))
        for _ in range(syllables)
    )
    return {
        "source": source,
        "reference": "".join(chr(generator.randint(0x4E00, 0x5000)) for _ in range(characters)),
    }


def corpus_file(folder: Path, count: int = 100, extra: tuple[str, ...] = (), seed: int = 0) -> Path:
    generator = random.Random(seed)
    lines = [json.dumps(line(generator), ensure_ascii=False) for _ in range(count)]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join([*lines, *extra]) + "\n", encoding="utf-8")
    return path


def run(config: DataConfig, cache: Path) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    return prepare(config, cache, said.append), said
