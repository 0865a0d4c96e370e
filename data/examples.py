"""The record every corpus is made of, and its file format: one JSON object a line, UTF-8.

Not a reader of users' files: those may be wrong in many ways and are read by `data.sources.user_file`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text


@dataclass(frozen=True)
class Example:
    """One source text with its reference text (the human target), where it comes from and on which terms.

    `others` are further reference texts of the same source: a reward may take any of them, training imitates the first.
    """

    id: str
    source: str
    reference: str
    origin: str
    licence: str
    source_language: str
    target_language: str
    task: str = "mt"
    others: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference text, the first one first."""
        return (self.reference, *self.others)


def swapped(example: Example) -> Example:
    """The same pair the other way round. Raises ValueError for a source with several reference texts: swap before they are merged."""
    if example.others:
        raise ValueError(f"example {example.id} has {len(example.references)} reference texts and cannot be swapped")
    source_language, target_language = example.target_language, example.source_language
    return replace(
        example, source=example.reference, reference=example.source, source_language=source_language, target_language=target_language
    )


def read_jsonl(path: Path) -> list[Example]:
    """Examples of a file written by `write_jsonl`."""
    with path.open(encoding="utf-8") as file:
        return [_example(json.loads(line)) for line in file]


def _example(record: dict[str, Any]) -> Example:
    return Example(**record | {"others": tuple(record.get("others", ()))})


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """Write one JSON object a line; the file appears whole or not at all."""
    lines = (json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)
    atomic_write_text(path, "".join(lines))
