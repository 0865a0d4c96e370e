"""Reads lines of a user's JSONL: one object a line, two of whose fields are the source and the reference text
or texts.

A column is a key, or a path of keys with dots: `translation.bo` is "bo" inside "translation". A key that has
dots itself comes first. Case and outer spaces of a key do not count where no key is equal, as in a table.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data.sources.line import BadLineError, Columns, Line, column_name, decode_line

Record = dict[str, Any]
MAX_NAMES = 8  # of fields that are listed
MAX_DOTS = 3
IDS = ("id", "_id", "uuid")  # fields that nobody expects to be read
FIRST_LINES = 100  # among which there should be an object


def json_pair(line: bytes, columns: Columns) -> Line | BadLineError:
    """The two fields of a line, or the error that says why it is no pair."""
    try:
        return pair_of(_record(line, columns), columns)
    except BadLineError as error:
        return error


def text_field(line: bytes, column: str) -> str:
    """One field of a line. Raises BadLineError."""
    return _text(_record(line, (column, column)), column)


def pair_of(record: Record, columns: Columns) -> Line:
    """The two fields of a record. Raises BadLineError."""
    return _text(record, columns[0]), _texts(record, columns[1])


def choose_columns(record: Record, candidates: Sequence[Columns]) -> Columns:
    """The first candidate whose two fields a record has; the first candidate where none fits."""
    return next(
        (columns for columns in candidates if all(_has(record, name) for name in columns)), candidates[0]
    )


def names_of(record: Record) -> list[str]:
    """The fields of a record as column names: those with text or a list in them."""
    return list(_names(record, ""))[:MAX_NAMES]


def other_fields(record: Record, columns: Columns) -> list[str]:
    """The fields with text or a list that are neither column nor id; none where a column is missing."""
    if not all(_has(record, name) for name in columns):
        return []
    read = {*map(_folded, columns), *IDS}
    return [repr(name) for name in _names(record, "") if _folded(name) not in read]


def key_in(record: Record, name: str) -> str | None:
    """The key with this name, else the first that differs by case or spaces; None where there is none."""
    if name in record:
        return name
    return next((key for key in record if column_name(key) == column_name(name)), None)


def _folded(path: str) -> str:
    return ".".join(map(column_name, path.split(".")))


def _names(record: Record, prefix: str) -> Iterator[str]:
    for key, value in record.items():
        if isinstance(value, dict) and prefix.count(".") < MAX_DOTS:
            yield from _names(value, f"{prefix}{key}.")
        elif isinstance(value, str | list):
            yield f"{prefix}{key}"


def first_record(lines: Sequence[bytes]) -> Record:
    """The first object of a file, empty where its first lines have none."""
    for line in lines[:FIRST_LINES]:
        try:
            return _record(line, ("", ""))
        except BadLineError:
            continue
    return {}


def _record(line: bytes, columns: Columns) -> Record:
    column_keys = {column_name(name) for column in columns for name in (column, *column.split("."))}

    def unique(items: Iterable[tuple[str, Any]]) -> Record:
        record: Record = {}
        for key, value in items:
            if key in record and column_name(key) in column_keys:
                raise BadLineError(f"field {key!r} comes twice")
            record[key] = value
        return record

    try:
        record = json.loads(decode_line(line), object_pairs_hook=unique)
    except BadLineError:
        raise
    except (ValueError, RecursionError):
        raise BadLineError("not JSON") from None
    if not isinstance(record, dict):
        raise BadLineError("not a JSON object")
    return record


def _text(record: Record, column: str) -> str:
    text = _field(record, column)
    if not isinstance(text, str):
        raise BadLineError(f"field {column!r} is not text")
    return _whole(text, column)


def _texts(record: Record, column: str) -> tuple[str, ...]:
    """The field's text, or the texts of its list, where null is an empty text."""
    value = _field(record, column)
    values: list[object] = (
        ["" if text is None else text for text in value] if isinstance(value, list) else [value]
    )
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) < len(values):
        raise BadLineError(f"field {column!r} is neither text nor a list of texts")
    if not texts:
        raise BadLineError(f"field {column!r} is an empty list")
    return tuple(_whole(text, column) for text in texts)


def _field(record: Record, column: str) -> object:
    key = key_in(record, column)
    if key is not None:
        return record[key]
    value: object = record
    for name in column.split("."):
        key = key_in(value, name) if isinstance(value, dict) else None
        if not isinstance(value, dict) or key is None:
            raise BadLineError(f"no field {column!r}")
        value = value[key]
    return value


def _has(record: Record, column: str) -> bool:
    try:
        _field(record, column)
    except BadLineError:
        return False
    return True


def _whole(text: str, column: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadLineError(f"field {column!r} has half a surrogate pair")
    return text
