"""The settings of `reward.distil` as frozen dataclasses, and their strict reading from TOML.

An unknown key is refused with the list of known ones, a value of the wrong type with the type that is needed.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from data.documents import check_settings, read_toml
from data.errors import InputError
from data.prepare import DataConfig
from reward.distil.training import TrainingConfig

Section = TypeVar("Section")


@dataclass(frozen=True)
class PairsConfig:
    """Section [pairs]: the pairs to learn from, and those to keep out.

    `run`: a run's configuration, whose own pairs are learnt from; "" = the Tibetan texts of packages, to
    which the last two settings belong. `keep_out` lists other runs' configurations; `held_out` texts are for
    the figures; `max_units` limits a text's length in units of its script.
    """

    run: str = ""
    keep_out: tuple[str, ...] = ()
    near_duplicate: float = 0.7
    held_out: int = 2000
    max_units: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.near_duplicate <= 1:
            raise InputError(f"pairs.near_duplicate = {self.near_duplicate}: must lie in (0, 1]")
        for name in ("held_out", "max_units"):
            if getattr(self, name) < 1:
                raise InputError(f"pairs.{name} = {getattr(self, name)}: a number from 1 is needed")


@dataclass(frozen=True)
class StudentConfig:
    """Section [student]: width of a table row, and of the dense head."""

    width: int = 256
    hidden: int = 512

    def __post_init__(self) -> None:
        for name in ("width", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"student.{name} = {getattr(self, name)}: a number from 1 is needed")


@dataclass(frozen=True)
class DistilConfig:
    """All settings of a student."""

    seed: int = 0
    pairs: PairsConfig = field(default_factory=PairsConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    teacher: str = "use"  # or the folder of another encoder, with `pairs.run`

    def __post_init__(self) -> None:
        if self.teacher != "use" and not self.pairs.run:
            raise InputError(
                f"teacher = {self.teacher!r}: the texts of packages are taught by 'use'; name a run's "
                "pairs: pairs.run"
            )


def read_config(path: Path) -> DistilConfig:
    """Read the configuration in a TOML file. Raises InputError naming file and key."""
    return _build(DistilConfig, _toml(path), str(path))


def read_data_section(path: Path) -> DataConfig:
    """Read section [data] of an RL configuration, which defines its prompts and reference texts. Raises
    InputError.
    """
    return _build(DataConfig, _toml(path).get("data", {}), f"{path}: data")


def _toml(path: Path) -> dict[str, Any]:
    values = read_toml(path)
    check_settings(values, str(path))
    return values


def _build(kind: type[Section], values: Any, place: str) -> Section:
    """Make the dataclass `kind` from a TOML table; tables inside it become the dataclasses of its defaults."""
    if not isinstance(values, dict):
        raise InputError(f"{place} = {values!r}: a table is needed")
    defaults = kind()
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise InputError(f"{place}: unknown key {key!r}; known keys: {', '.join(names)}")
    return kind(
        **{key: _convert(getattr(defaults, key), value, f"{place}.{key}") for key, value in values.items()}
    )


def _convert(default: Any, value: Any, place: str) -> Any:
    """Convert `value` to the type of its default. Raises InputError for another type."""
    if dataclasses.is_dataclass(default):
        return _build(type(default), value, place)
    if (
        isinstance(default, tuple)
        and isinstance(value, list)
        and all(isinstance(entry, str) for entry in value)
    ):
        return tuple(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    either = isinstance(default, str) and type(value) is int and place.endswith("_column")
    if type(value) is not type(default) and not either:
        raise InputError(f"{place} = {value!r}: {_kind(default)} is needed")
    return value


def _kind(default: Any) -> str:
    kinds = {tuple: "a list of texts", bool: "true or false", int: "a whole number", float: "a number"}
    return kinds.get(type(default), "a text")
