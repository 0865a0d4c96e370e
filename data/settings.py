"""How the settings of a section are checked: numbers by a table of bounds, the rest by a list of rules.

Every package checks its own sections in this form, and grpo/config_check.py checks them all.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from data.errors import InputError

Rule = tuple[bool, str]  # whether it is broken, and the sentence that says so


class Bounds(NamedTuple):
    """Between `low` and `high`, both included, lies each setting of `names`, which a space divides."""

    low: float
    high: float
    names: str
    reason: str = ""


def check_bounds(section: Any, table: Iterable[Bounds], prefix: str = "") -> None:
    """InputError for the first number outside its bounds; `prefix` is the section's name with its dot."""
    for low, high, names, reason in table:
        for name in names.split():
            value = attrgetter(name)(section)
            if not low <= value <= high:  # neither does NaN
                bound = f"at most {high:,}" if value > high else f"at least {low:,}"
                raise InputError(f"{prefix}{name} = {value}: must be {bound}{reason and f', as {reason}'}")


def check_rules(rules: Iterable[Rule], place: str = "") -> None:
    """InputError with the sentence of the first broken rule, behind `place`."""
    for is_broken, sentence in rules:
        if is_broken:
            raise InputError(f"{place}{sentence}")
