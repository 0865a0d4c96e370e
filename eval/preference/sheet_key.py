"""The key of a blind sheet: its rows in random order, and which output is whose.

A row is named after the hash of the whole sheet, so a filled row belongs to one key only, and neither its
name nor its place tells the item. Sides are balanced: `after` stands first in half of the rows, so that a
preference for one side favours neither system.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.documents import parse_object, read_object
from data.errors import InputError
from eval.preference.pairs import Pair
from eval.run_folder import named_damage


@dataclass(frozen=True)
class Key:
    """`rows`: (pair, whether `after` is first) in the order of the sheet; `identical`: pairs not shown."""

    before: str
    after: str
    seed: int
    rows: tuple[tuple[Pair, bool], ...]
    identical: tuple[Pair, ...]

    def document(self) -> dict[str, Any]:
        """The key as JSON, without its hash."""
        rows = [{"after_first": first, **asdict(pair)} for pair, first in self.rows]
        return {
            "before": self.before,
            "after": self.after,
            "seed": self.seed,
            "rows": rows,
            "identical": list(map(asdict, self.identical)),
        }

    @property
    def sha256(self) -> str:
        return hashlib.sha256(
            json.dumps(self.document(), ensure_ascii=False, sort_keys=True).encode()
        ).hexdigest()

    def row_names(self) -> list[str]:
        """'s3fa9c1d2-001', ...: a letter in front, lest a spreadsheet takes one for a number or a date."""
        sheet = self.sha256[:8]
        return [f"s{sheet}-{number:03d}" for number in range(1, len(self.rows) + 1)]


def make_key(names: tuple[str, str], pairs: Sequence[Pair], seed: int) -> Key:
    """Make the key for pairs in random order. Raises InputError where all outputs are identical."""
    differing = [pair for pair in pairs if not pair.is_identical]
    if not differing:
        raise InputError(
            f"{names[0]} and {names[1]}: all {len(pairs)} outputs that were drawn are identical, so there is nothing to read"
        )
    sides = [number % 2 == 0 for number in range(len(differing))]
    random.Random(f"sides {seed}").shuffle(sides)
    return Key(
        *names,
        seed,
        tuple(zip(differing, sides, strict=True)),
        tuple(pair for pair in pairs if pair.is_identical),
    )


def read_key(path: Path) -> Key:
    """The key of a sheet. Raises InputError where it is damaged or was edited."""
    document = read_object(path)
    with named_damage(f"{path}: not the key of a blind sheet", "restore it"):
        rows = tuple(
            (
                Pair(**{name: value for name, value in row.items() if name != "after_first"}),
                row["after_first"],
            )
            for row in document["rows"]
        )
        identical = tuple(Pair(**parse_object(path, row)) for row in document["identical"])
        key = Key(document["before"], document["after"], document["seed"], rows, identical)
        is_intact = document["sheet_sha256"] == key.sha256

    if not is_intact:
        raise InputError(
            f"{path}: does not have the hash it names, so it was edited; restore it, or make a new sheet"
        )
    return key
