"""The settings of `reward.distil` as frozen dataclasses, and their strict reading from TOML.

An unknown key is refused with the list of known ones, a value of the wrong type with the type that is needed.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from data.config import DataConfig
from data.config import check as check_data
from data.documents import LARGEST, check_settings, read_toml
from data.errors import InputError
from data.settings import Bounds, check_bounds, check_rules
from reward.distil.training import TrainingConfig

Section = TypeVar("Section")


@dataclass(frozen=True)
class PairsConfig:
    """Section [pairs]: the pairs to learn from, and those to keep out.

    `run`: a run's configuration, whose own pairs are learnt from; "" = the Tibetan texts of packages, to
    which the last two settings belong. `keep_out` lists configurations of runs whose texts are left out; `held_out` texts
    only measure the student; `max_units` limits a text's length in units of its script.
    """

    run: str = ""
    keep_out: tuple[str, ...] = ()
    near_duplicate: float = 0.7  # Jaccard similarity from which a text is kept out
    held_out: int = 2000
    max_units: int = 200


@dataclass(frozen=True)
class StudentConfig:
    """Section [student]: width of a table row, and of the dense head."""

    width: int = 256  # width of a table row
    hidden: int = 512  # width of the dense head


@dataclass(frozen=True)
class DistilConfig:
    """All settings of a student."""

    seed: int = 0  # the number that all random draws follow from
    pairs: PairsConfig = field(default_factory=PairsConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    teacher: str = "use"  # "use", or the folder of another encoder, with `pairs.run`


BOUNDS = (
    Bounds(1, LARGEST, "pairs.held_out pairs.max_units student.width student.hidden"),
    Bounds(1, LARGEST, "training.epochs training.batch_size"),
    Bounds(1e-6, 1, "pairs.near_duplicate"),
    Bounds(1e-12, LARGEST, "training.table_lr training.head_lr training.temperature"),
    Bounds(0, LARGEST, "training.contrast_weight training.variant_weight training.variant_margin"),
    Bounds(0, 0.999999, "training.feature_dropout"),
)


def check(config: DistilConfig) -> None:
    """InputError for the first setting, or combination of settings, that cannot work."""
    check_bounds(config, BOUNDS)
    check_rules(
        [
            (
                config.teacher != "use" and not config.pairs.run,
                f"teacher = {config.teacher!r}: the texts of packages are taught by 'use'; name a run's pairs: pairs.run",
            )
        ]
    )


def read_config(path: Path) -> DistilConfig:
    """The configuration in a TOML file. Raises InputError, naming file and key."""
    config = _build(DistilConfig, _toml(path), str(path))
    check(config)
    return config


def read_data_section(path: Path) -> DataConfig:
    """Read section [data] of an RL configuration, which defines its prompts and reference texts. Raises InputError."""
    config = _build(DataConfig, _toml(path).get("data", {}), f"{path}: data")
    check_data(config)
    return config


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
