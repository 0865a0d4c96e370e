"""Reads the pairs of a Parquet file, or of a folder that the package datasets wrote. Needs the package pyarrow.

A row is read like an object of JSONL: columns are names, or paths such as `translation.bo`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.sources.json_lines import Record, choose_columns, key_in, names_of, other_fields, pair_of
from data.sources.line import BadLineError, Columns, Content, Line, Row, in_words, unread_remark

PYARROW_NEEDED = "needs the package pyarrow: pip install pyarrow"
BATCH = 256  # rows in memory at once
SHOWN_CHARACTERS = 200  # of a row that is no pair
PART_NAME = re.compile(r"-\d+-of-\d+")
STATE, PARTS = "state.json", "dataset_dict.json"


def files_of_folder(folder: Path) -> list[Path]:
    """The files of a dataset of one part, in their order; none where a folder is no dataset. Raises InputError
    for several parts.
    """
    if (folder / PARTS).is_file():
        parts = _json(folder / PARTS, "splits")
        raise InputError(
            f"{folder} has the parts {', '.join(map(str, parts))}; give the folder of one, such as {folder / str(parts[0])}"
        )
    if (folder / STATE).is_file():
        names = [
            file.get("filename") if isinstance(file, dict) else None
            for file in _json(folder / STATE, "_data_files")
        ]
        return [folder / Path(str(name)).name for name in names]
    files = sorted(folder.glob("*.parquet"))
    parts = sorted({PART_NAME.sub("", path.stem) for path in files})
    if len(parts) > 1:
        raise InputError(
            f"{folder} has files of the parts {', '.join(parts)}; give one file, or a folder for each part"
        )
    return files


def _json(path: Path, key: str) -> list[Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))[key]
        if not isinstance(values, list) or not values:
            raise TypeError(f"{key} is no list")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is not that of a dataset ({error}); write the dataset again") from error
    return values


def read_tables(paths: Sequence[Path], candidates: Sequence[Columns]) -> Content:
    """The pairs of the files, one after the other. Raises InputError; for missing columns when the first row is read."""
    first: Record = next((record for _, record in _records(paths[:1], None) if isinstance(record, dict)), {})
    columns = choose_columns(first, candidates)
    names = names_of(first)
    parts = [part for column in columns for part in (column, column.split(".")[0])]
    tops = sorted({key for part in parts if (key := key_in(first, part)) is not None})

    def rows() -> Iterator[Row]:
        if first and not tops:
            raise InputError(
                f"{paths[0]}: no columns {in_words(columns)}; data.source_column and data.reference_column take names "
                f"of columns, which are {', '.join(names) or 'none with text'}"
            )
        for place, record in _records(paths, tops):
            yield Row(place, _shown(record), _pair(record, columns))

    return Content(
        rows(),
        columns,
        names,
        f"{in_words(columns)} are read; the first row has {', '.join(names) or 'no text'}",
        unread_remark(paths[0], in_words(columns), other_fields(first, columns)),
    )


def _shown(record: Record | BadLineError) -> bytes:
    return str(record)[:SHOWN_CHARACTERS].encode("utf-8", "replace")


def _pair(record: Record | BadLineError, columns: Columns) -> Line | BadLineError:
    if isinstance(record, BadLineError):
        return record
    try:
        return pair_of(record, columns)
    except BadLineError as error:
        return error


def _records(paths: Iterable[Path], columns: list[str] | None) -> Iterator[tuple[str, Record | BadLineError]]:
    """(file:row, the row or why it cannot be read) of each row; `columns` are the only ones that are read."""
    for path in paths:
        with _reading(path):
            rows = chain.from_iterable(map(_records_in, _batches(path, columns)))
            for number, record in enumerate(rows, start=1):
                yield f"{path}:{number}", record


def _records_in(batch: Any) -> list[Record | BadLineError]:
    """The rows of a batch; a text that is no UTF-8 spoils its own row only."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [BadLineError("a text that is not UTF-8")]
        return [record for row in range(batch.num_rows) for record in _records_in(batch.slice(row, 1))]


def _batches(path: Path, columns: list[str] | None) -> Iterator[Any]:
    import pyarrow

    if path.suffix.lower() == ".parquet":
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            yield from file.iter_batches(BATCH, columns=columns, use_threads=False)
        return
    with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as batches:
        for batch in batches:
            part = batch if columns is None else batch.select(columns)
            yield from (part.slice(start, BATCH) for start in range(0, part.num_rows, BATCH))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors of pyarrow, or that it is missing, into InputError."""
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(f"{path} {PYARROW_NEEDED}") from error
    try:
        yield
    except (OSError, KeyError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        words = str(error).split("\n")[0]
        raise InputError(f"{path} cannot be read: {words}") from error
