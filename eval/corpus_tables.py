"""The corpus part of the report: the manifest and the token report as tables, whatever origins and splits a corpus has.

A set of entries that are alike (origins, splits: a dictionary of flat dictionaries, or a list of them) becomes a table with one
row each; everything else becomes rows of one table of keys and values.
"""

from collections.abc import Iterator
from typing import Any

from eval.blocks import Table
from eval.report_tables import flattened
from eval.run_folder import Json
from eval.wording import ABSENT, plain_number


def corpus_tables(corpus: Json) -> list[Table]:
    """The settings-like rest first, then one table for each set of like entries."""
    single: list[tuple[str, str]] = []
    tables: list[Table] = []
    for path, value in walk(corpus, ""):
        if is_entry_set(value):
            tables.append(entry_table(path, value))
        else:
            single.extend(flattened(value, path))
    return [Table("Corpus manifest", ("Key", "Value"), tuple(single)), *tables] if single else tables


def walk(document: Json, prefix: str) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) down to flat dictionaries, entry sets and plain values."""
    for key, value in document.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if (
            isinstance(value, dict)
            and not is_entry_set(value)
            and any(isinstance(inner, dict | list) for inner in value.values())
        ):
            yield from walk(value, path)
        else:
            yield path, value


def entries(value: Any) -> list[tuple[str, Any]]:
    """(name, entry) of a dictionary or a list of entries."""
    if isinstance(value, dict):
        return [(str(name), entry) for name, entry in value.items()]
    return [(str(index), entry) for index, entry in enumerate(value, 1)] if isinstance(value, list) else []


def is_entry_set(value: Any) -> bool:
    """Whether every entry is a flat dictionary."""
    rows = entries(value)
    return bool(rows) and all(is_flat(entry) for _, entry in rows)


def is_flat(entry: Any) -> bool:
    """A dictionary with something in it and no further dictionary."""
    return isinstance(entry, dict) and bool(entry) and not any(isinstance(cell, dict) for cell in entry.values())


def entry_table(path: str, value: Any) -> Table:
    """One row an entry, one column for every key that any entry has."""
    rows = entries(value)
    columns = list(dict.fromkeys(key for _, entry in rows for key in entry))
    cells = tuple(
        (name, *(plain_number(entry[key]) if key in entry else ABSENT for key in columns)) for name, entry in rows
    )
    return Table(path, ("Entry", *map(str, columns)), cells)
