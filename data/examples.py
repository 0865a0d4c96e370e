"""The record of a pair, and its file format: one JSON object a line, UTF-8.

Users' files are read by `data.sources.user_file`, which expects errors.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text
from data.errors import InputError


@dataclass(frozen=True)
class Example:
    """One source text with its reference text (the human target), its origin and its licence.

    `others` are further reference texts of the same source: a reward may use any of them, supervised training
    uses the first.
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


def swap_sides(example: Example) -> Example:
    """The same pair with source and reference exchanged. Raises ValueError for a source with several
    reference texts: swap before they are merged.
    """
    if example.others:
        raise ValueError(
            f"example {example.id} has {len(example.references)} reference texts and cannot be swapped"
        )
    source_language = example.target_language
    target_language = example.source_language
    return replace(
        example,
        source=example.reference,
        reference=example.source,
        source_language=source_language,
        target_language=target_language,
    )


def read_jsonl(path: Path) -> list[Example]:
    """Read the examples of a file written by `write_jsonl`. Raises InputError for a file or line that it did
    not write.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); delete its folder to have it made again"
        ) from error
    return [_example(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _example(line: bytes, place: str) -> Example:
    try:
        record: dict[str, Any] = json.loads(line.decode("utf-8"))
        others = record.pop("others", [])
        if not isinstance(others, list) or not all(
            isinstance(text, str) for text in (*record.values(), *others)
        ):
            raise TypeError("a field is not text")
        "".join((*record.values(), *others)).encode("utf-8")
        return Example(**record, others=tuple(others))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{place} is not a record of a prepared corpus ({error}); delete its folder to have it made again"
        ) from error


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """Write one JSON object a line; the file appears whole or not at all."""
    lines = (json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)
    atomic_write_text(path, "".join(lines))
