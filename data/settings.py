"""How the settings of a section are read from TOML, and checked: numbers by a table of bounds, the rest by a list of rules.

Every package checks its own sections in this form, and grpo/config_check.py checks them all.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from data.arguments import nearest
from data.errors import InputError

# types whose name in TOML is another
TOML_TYPES = {"tuple": 'list, e.g. ["a", "b"]', "dict": "table, e.g. { a = 1.0 }"}
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


def build(
    kind: Any,
    values: dict[str, Any],
    path: str,
    prefix: str = "",
    base: Any = None,
    every: Sequence[str] = (),
) -> Any:
    """A dataclass from a dictionary: every key known, every value of the declared type. `base` supplies the
    defaults. `every`: the settings of the whole file by their full names; by default those of `kind`. Raises InputError.
    """
    base = kind() if base is None else base
    every = every or [*names_below(kind, prefix)]
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in names:
            raise InputError(
                f"{path}: unknown key {key!r}; known keys here: {', '.join(names)}{right_name(key, names, prefix, every)}"
            )
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise InputError(f"{path}: {key} is a section; write its settings under [{key}]")
            changes[name] = build(hints[name], value, path, f"{key}.", getattr(base, name), every)
        else:
            changes[name] = setting_value(hints[name], value, path, key, every)
    return dataclasses.replace(base, **changes)


def setting_value(hint: Any, value: Any, path: str, key: str, every: Sequence[str] = ()) -> Any:
    """`value` as the declared type: a whole number becomes a float where one is declared, a list becomes a
    tuple, nothing else is converted. A Literal lists all values that there are. Raises InputError.
    """
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if is_union else (hint,)
    for option in options:
        kind = typing.get_origin(option)
        inner = typing.get_args(option)
        if option is Any or (kind is typing.Literal and value in inner):
            return value
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return build(option, value, path, f"{key}.", every=every)
        if kind is tuple and isinstance(value, list):
            return tuple(
                setting_value(inner[0], item, path, f"{key}[{n}]", every) for n, item in enumerate(value)
            )
        if kind is dict and isinstance(value, dict):
            return {
                name: setting_value(inner[1], item, path, f"{key}.{name}", every)
                for name, item in value.items()
            }
        if option in (int, str, bool) and type(value) is option:
            return value
    raise InputError(f"{path}: {key} = {value!r}{remedy(options, value)}")


def remedy(options: Sequence[Any], value: Any) -> str:
    """The end of the sentence that refuses `value`: what may be written instead."""
    choices = [
        choice
        for option in options
        if typing.get_origin(option) is typing.Literal
        for choice in typing.get_args(option)
    ]
    numbers = ", or a number" if float in options else ", or true or false" if bool in options else ""
    if choices:
        shown = [choice or '""' for choice in choices]
        return f": known values are {', '.join(shown)}{numbers}"
    if bool in options:
        return f" is of type {type(value).__name__}; write true or false"
    names = [getattr(option, "__name__", str(option)) for option in options]
    declared = " or ".join(TOML_TYPES.get(name, name) for name in names)
    return f" is of type {type(value).__name__}; write a value of type {declared}"


def right_name(key: str, names: Sequence[str], prefix: str, every: Sequence[str]) -> str:
    """The end of the sentence that refuses `key`: the setting that is meant, among `names` behind `prefix`, or in another
    section among `every` setting.

    >>> right_name("train.num_step", ["method", "num_steps"], "train.", ["train.num_steps"])
    "; did you mean 'train.num_steps'?"
    >>> right_name("train.lr", ["method", "num_steps"], "train.", ["train.optim.lr"])
    "; did you mean 'train.optim.lr'?"
    """
    last = key.removeprefix(prefix)
    elsewhere = [name for name in every if name.endswith(f".{last}")]
    return nearest(key, elsewhere, 0.0) or nearest(key, [f"{prefix}{name}" for name in names])


def names_below(kind: Any, prefix: str = "") -> Iterator[str]:
    """The full names of the settings of a section and of those in it."""
    hints = typing.get_type_hints(kind)
    for name in (field.name for field in dataclasses.fields(kind)):
        if dataclasses.is_dataclass(hints[name]):
            yield from names_below(hints[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
