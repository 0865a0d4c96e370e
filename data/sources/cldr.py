"""Names of languages, countries, scripts, currencies, months ... from the CLDR tables that babel carries.

babel is not imported. Its tables are pickles made by its own build and read here with every class refused except four of babel's,
which are replaced by an empty stand-in: nothing of the package runs.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.sources.origin import Folders, Pair, join

SECTIONS = (
    "languages", "territories", "scripts", "variants", "currency_names", "months", "days", "quarters", "day_periods", "eras",
    "date_fields", "time_zones", "meta_zones", "unit_display_names",
)  # fmt: skip
IGNORED_CLASSES = {
    ("babel.dates", "DateTimePattern"), ("babel.numbers", "NumberPattern"), ("babel.plural", "PluralRule"), ("babel.localedata", "Alias"),
}  # fmt: skip


class Ignored:
    """Stands in for babel's own objects (patterns, plural rules, aliases); keeps nothing of them."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class TableUnpickler(pickle.Unpickler):
    """Builds plain containers and strings only."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for babel's four classes; every other global is refused."""
        if (module, name) in IGNORED_CLASSES:
            return Ignored
        raise pickle.UnpicklingError(f"a locale table asks for {module}.{name}, which no locale table needs")


def read(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Dzongkha names with the Chinese ones."""
    for folder in folders.values():
        tables = folder / "babel" / "locale-data"
        chinese = names(tables / "zh.dat")
        for language in ("bo", "dz"):
            yield from join(names(tables / f"{language}.dat"), chinese, language, prefix=f"{language}#")


def names(path: Path) -> dict[str, str]:
    """Every string of the sections with names, by its path in the table, such as `languages/de`."""
    with path.open("rb") as file:
        table = TableUnpickler(file).load()
    return {key: text for section in SECTIONS for key, text in _leaves(table.get(section), section)}


def _leaves(node: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f"{path}/{key}")
