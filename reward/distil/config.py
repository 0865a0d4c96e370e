"""The settings of `reward.distil` as frozen dataclasses, and their reading from TOML."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.config import DataConfig
from data.config import check as check_data
from data.documents import LARGEST, check_settings, read_toml
from data.settings import Bounds, build, check_bounds, check_rules
from reward.distil.training import TrainingConfig


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
class DataSection:
    """The section of a run's configuration that is read."""

    data: DataConfig = field(default_factory=DataConfig)


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
    config: DistilConfig = build(DistilConfig, read_values(path), str(path))
    check(config)
    return config


def read_data_section(path: Path) -> DataConfig:
    """Section [data] of a run's configuration, which defines its prompts and reference texts. Raises InputError."""
    section = {"data": read_values(path).get("data", {})}
    config: DataConfig = build(DataSection, section, str(path)).data
    check_data(config)
    return config


def read_values(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, none of which is checked but for numbers and texts that no setting can have."""
    values = read_toml(path)
    check_settings(values, str(path))
    return values
