"""A run as an object, on the CPU, for tests of what a stage does with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from grpo.config import Config
from grpo.config_file import load_config
from grpo.runtime.device import choose
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.stages.context import Run


def run_in(
    folder: Path, config: Config, say: Callable[[str], None] = print, world: World = SINGLE_PROCESS
) -> Run:
    """A run in a folder that is its cache too."""
    return Run(config, folder, folder, choose("cpu"), StopRequest(), say, world)


def run_of(folder: Path, settings: Sequence[str]) -> Run:
    """The same by settings as on a command line."""
    return run_in(folder, config_of(folder, settings))


def config_of(folder: Path, settings: Sequence[str]) -> Config:
    """The configuration of settings on a command line, checked."""
    (folder / "c.toml").write_text("", encoding="utf-8")
    return load_config(folder / "c.toml", settings)
