"""Reads names of languages, countries, scripts, currencies, months ... from babel's CLDR tables.

babel is not imported. Its tables are pickles made by its own build; `plain_pickle` reads the dictionaries in
them without running anything of the package.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from data.sources.origin import Folders, Pair, join
from data.sources.package_file import FormatError, parse_file
from data.sources.plain_pickle import load

LANGUAGES = ("bo", "dz")
SECTIONS = (
    "languages", "territories", "scripts", "variants", "currency_names", "months", "days", "quarters", "day_periods", "eras",
    "date_fields", "time_zones", "meta_zones", "unit_display_names",
)  # fmt: skip
CLASSES = {  # babel's own patterns, plural rules and aliases, which hold no names
    ("babel.dates", "DateTimePattern"), ("babel.numbers", "NumberPattern"), ("babel.plural", "PluralRule"), ("babel.localedata", "Alias"),
}  # fmt: skip
MAX_DEPTH = 16  # a table that holds itself, or one other many times over, has no end
MAX_NODES = 1_000_000


def read(folders: Folders, languages: Sequence[str] = LANGUAGES, target: str = "zh") -> Iterator[Pair]:
    """Names in each of the `languages` with those in `target`."""
    for folder in folders.values():
        tables = folder / "babel" / "locale-data"
        others = names(tables / f"{target}.dat")
        for language in languages:
            yield from join(names(tables / f"{language}.dat"), others, language, prefix=f"{language}#")


def names(path: Path) -> dict[str, str]:
    """Every string of the sections with names, by its path in the table, such as `languages/de`."""
    return parse_file(path, names_in)


def names_in(content: bytes) -> dict[str, str]:
    """`names` of a table's bytes; raises FormatError."""
    table = load(content, CLASSES)
    if not isinstance(table, dict):
        raise FormatError("is not a locale table")
    nodes = count()
    return {key: text for section in SECTIONS for key, text in _leaves(table.get(section), section, nodes)}


def _leaves(node: object, path: str, nodes: Iterator[int], depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH or next(nodes) > MAX_NODES:
        raise FormatError("is a locale table without end")
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f"{path}/{key}", nodes, depth + 1)
