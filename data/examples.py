"""The record of a pair, and its line in a file: one JSON object, UTF-8. `data.records` reads and writes such
files.

Users' files are read by `data.sources.user_file`, which expects errors.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

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
        """Every reference text, the first one first; none of a prompt without one."""
        return (self.reference, *self.others) if self.reference else ()


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


def example_of(line: bytes, place: str) -> Example:
    """The example of a line written by `line_of`. Raises InputError for any other line."""
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


def line_of(example: Example) -> bytes:
    """An example as one line of JSON with its line end."""
    return json.dumps(vars(example), ensure_ascii=False).encode("utf-8") + b"\n"
