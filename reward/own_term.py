"""Loads a user's own reward term: one function in one Python file, "FILE.py:function" in the configuration.

The file is run. Nothing is searched for and nothing is imported by a dotted name.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import torch

from data.documents import user_path
from data.errors import InputError

SHAPE = "def TERM(sources, completions, references, *, settings) -> one number, or None, a completion, as a tensor or a list"
# of the whole process, which other people's scripts like to set: how to read it, how to set it
STATE: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (os.getcwd, os.chdir),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_own_term(name: str) -> bool:
    """True for "FILE.py:function"."""
    return name.partition(":")[0].endswith(".py")


@contextmanager
def same_state() -> Iterator[None]:
    """Put back the working folder and torch's settings of the process if a term changes them."""
    before = [read() for read, _ in STATE]
    try:
        yield
    finally:
        for (read, write), value in zip(STATE, before, strict=True):
            if read() != value:
                write(value)


def load_own_term(name: str) -> Callable[..., Any]:
    """Load the function of "FILE.py:function". Raises InputError for a missing file, an error in it, and a
    missing or unfit function.
    """
    path, _, attribute = name.partition(":")
    file = user_path(path)
    if not file.is_file():
        raise InputError(
            f"reward term {name!r}: {path} is not a file; write it as FILE.py:function, seen from the working folder"
        )
    spec = spec_from_file_location(f"own_term_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    try:
        with same_state():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, by which the run would end without a word
        raise InputError(
            f"reward term {name!r}: {path} cannot be run: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        functions = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and not key.startswith("_")
        ]
        raise InputError(
            f"reward term {name!r}: {path} has no function {attribute!r}; its functions: {', '.join(functions) or 'none'}"
        )
    if _num_positional(function) != 3:
        raise InputError(f"reward term {name!r}: it must take three lists: {SHAPE}")
    return function


def _num_positional(function: Callable[..., Any]) -> int:
    """The number of arguments that a function takes by position; 0 where its signature is unknown, as for
    many of Python's own.
    """
    try:
        return sum(p.kind in POSITIONAL for p in inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return 0
