"""Reads TOML and JSON from outside strictly: whatever is wrong is one InputError with its place.

Also refused: nesting deeper than LEVELS, text that cannot be written as UTF-8, and settings that JSON cannot
express. The reader of a document checks its keys.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "grpo" / "configs"  # in a checkout a link to configs/
LEVELS = 50  # of tables and lists inside each other
TOML_BYTES = 1 << 20  # nobody writes a longer configuration, and /dev/zero has no end
LARGEST = 2**53  # of a setting: whole numbers up to here are exact in JSON and floating point
SHOWN = 60  # characters of a key in a sentence
HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: no text
UNFIT = re.compile("[\0\ud800-\udfff]")  # NUL ends a path


def user_path(text: str) -> Path:
    """A path as a user writes it, `~` included. Raises InputError."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError) as error:  # a home that is not known; a NUL in its name
        raise InputError(f"{text}: {error}; write the path without ~") from error


def config_path(path: Path) -> Path:
    """`path`, also without its ".toml"; where nothing is there, the file that comes with the package and is called so:
    "mt", "mt.toml" or "configs/mt.toml".
    """
    own = path if path.suffix else Path(f"{path}.toml")
    ours = CONFIGS / own.name
    is_name = own.parts in ((own.name,), ("configs", own.name))
    places = [path, own, ours] if is_name else [path, own]
    return next((place for place in places if place.is_file()), path)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in the TOML file `config_path(path)`. Raises InputError."""
    place = str(path)
    try:
        with config_path(path).open("rb") as file:
            content = file.read(TOML_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(
            f"{place}: cannot be read ({_cause(error)}); name a configuration such as configs/mt.toml"
        ) from error
    if len(content) > TOML_BYTES:
        raise InputError(
            f"{place}: longer than {TOML_BYTES:,} bytes; name a configuration such as configs/mt.toml"
        )
    try:
        return parse_toml(content.decode("utf-8-sig"), place)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


TOML_RULE = 'write a section as [train], and a setting as num_steps = 20, name = "text" or flag = true'


def parse_toml(text: str, place: str) -> dict[str, Any]:
    """The settings in TOML text. Raises InputError."""
    try:
        return tomllib.loads(text)
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # also an integer of thousands of digits, which is no TOMLDecodeError
        raise InputError(f"{place}: not TOML: {error}; {TOML_RULE}") from error
    except RecursionError as error:
        raise InputError(
            f"{place}: not TOML that can be read: nested too deeply; at most {LEVELS} levels are"
        ) from error


def check_settings(value: Any, place: str, key: str = "", level: int = 0) -> None:
    """Raises InputError naming the key unless `value` is made of tables, lists, clean text, true and false,
    and finite numbers up to LARGEST.
    """
    where = f"{place}: {key[:SHOWN]}"
    if level > LEVELS:
        raise InputError(f"{where}: nested deeper than {LEVELS} levels; write it flatter")
    for name, inner in _children(value):
        check_settings(name, place, f"the name {name[:SHOWN]!r}")
        check_settings(
            inner, place, f"{key}.{name}" if key and isinstance(value, dict) else f"{key}{name}", level + 1
        )
    if isinstance(value, str) and UNFIT.search(value):
        raise InputError(
            f"{where} = {value[:SHOWN]!r}: has a character that cannot be written as text; leave it out"
        )
    if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN fails too
        value_text = f"a whole number of {value.bit_length()} bits" if isinstance(value, int) else value
        raise InputError(f"{where} = {value_text}: a finite number, at most {LARGEST:,}, is needed")
    if not isinstance(value, dict | list | str | int | float):
        raise InputError(f"{where} = {value}: no setting is a date or a time; write a text in quotes")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError."""
    return parse_json(read_bytes(path), str(path))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError for anything else."""
    return parse_object(path, read_json(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file of JSON. Raises InputError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable JSON file ({_cause(error)}); restore the file or remove it"
        ) from error


def parse_json(content: bytes, place: str) -> Any:
    """The content of a JSON text. Raises InputError."""
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise InputError(
            f"{place}: not a readable JSON file ({error}); restore the file or remove it"
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{place}: nested deeper than {LEVELS} levels; restore the file or remove it"
        ) from error
    _check_document(document, place, 0)
    return document


def parse_object(place: object, document: Any) -> dict[str, Any]:
    """Return `document` if it is an object. Raises InputError."""
    if not isinstance(document, dict):
        raise InputError(
            f"{place}: must hold a JSON object {{...}}, not {type(document).__name__}; restore the file or remove it"
        )
    return document


def with_nulls(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: null in their place.

    >>> with_nulls({"cosine": math.nan, "group": [{"reward": 0.5}, {"reward": math.inf}]})
    {'cosine': None, 'group': [{'reward': 0.5}, {'reward': None}]}
    """
    if isinstance(value, dict):
        return {name: with_nulls(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_log_row(line: bytes, place: str) -> dict[str, Any]:
    """A line of metrics.jsonl, in which null stands for what was no finite number: NaN. Raises InputError for what no
    run has written.
    """
    row = parse_object(place, parse_json(line, place))
    row = {name: math.nan if value is None else value for name, value in row.items()}
    if not isinstance(row.get("stage"), str) or not isinstance(row.get("step"), int):
        raise InputError(f"{place}: a row needs a text 'stage' and a whole number 'step'; remove this line")
    return row


def _check_document(value: Any, place: str, level: int) -> None:
    if level > LEVELS:
        raise InputError(f"{place}: nested deeper than {LEVELS} levels; restore the file or remove it")
    if isinstance(value, str) and HALVES.search(value):
        raise InputError(
            f"{place}: the text {value[:SHOWN]!r} cannot be written as UTF-8; restore the file or remove it"
        )
    for name, inner in _children(value):
        _check_document(name, place, level)
        _check_document(inner, place, level + 1)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of the entries of a table or a list."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((f"[{number}]", inner) for number, inner in enumerate(value))


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
