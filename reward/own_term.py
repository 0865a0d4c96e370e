"""A user's own reward term: one function in one Python file, named in the configuration as "FILE.py:function".

The file is run, as the user asks for by naming it; nothing is searched for and nothing is imported by a dotted name.
"""

import inspect
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from torch import Tensor

from data.errors import InputError

SHAPE = "def TERM(sources, completions, references, *, settings) -> a tensor with one number a completion"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_own_term(name: str) -> bool:
    """True for "FILE.py:function"."""
    return name.partition(":")[0].endswith(".py")


def load_own_term(name: str) -> Callable[..., Tensor]:
    """The function of "FILE.py:function"; InputError for a missing file, an error in it, a missing or unfit function."""
    path, _, attribute = name.partition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"reward term {name!r}: {path} is not a file; write it as FILE.py:function, seen from the working folder")
    spec = spec_from_file_location(f"own_term_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"reward term {name!r}: {path} cannot be run: {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        named = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise InputError(f"reward term {name!r}: {path} has no function {attribute!r}; its functions: {', '.join(named) or 'none'}")
    if sum(p.kind in POSITIONAL for p in inspect.signature(function).parameters.values()) != 3:
        raise InputError(f"reward term {name!r}: it must take three lists: {SHAPE}")
    return function
