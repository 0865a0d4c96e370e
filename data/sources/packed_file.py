"""The bytes of a user's file, unpacked block by block where its name ends in .gz, .xz, .bz2 or .zst."""

import bz2
import gzip
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.records import BYTES
from data.system import BINARY

MAX_BYTES = 1 << 35  # of a file, unpacked where it is packed
SMALL_BYTES = 1 << 12  # of Zstandard that are unpacked at once; they may grow 30,000 times
TOOLS = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}  # commands that unpack, by ending
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
ZSTD_NEEDED = "needs the package zstandard: pip install zstandard"


def kind_of(path: Path) -> str:
    """The ending of a file's name in lower case, without that of its packing.

    >>> kind_of(Path("pairs.TSV.xz"))
    '.tsv'
    """
    return Path(path.stem if path.suffix.lower() in TOOLS else path.name).suffix.lower()


def read_blocks(path: Path) -> Iterator[bytes]:
    """The unpacked content of a file. Raises InputError where it cannot be read, is cut off, or is larger than
    MAX_BYTES.
    """
    total = 0
    try:
        for block in _unpack(path):
            total += len(block)
            if total > MAX_BYTES:
                raise InputError(f"{path} has more than {MAX_BYTES:,} bytes of text; give a part of it")
            yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read: {cause_of(error)}") from error


def cause_of(error: Exception) -> str:
    """Why a file cannot be read, without its name, and for one that is absent what to do."""
    words = getattr(error, "strerror", None) or str(error)
    return f"{words}; name a file" if isinstance(error, FileNotFoundError | IsADirectoryError) else words


def open_unpacked(path: Path) -> int:
    """A descriptor of the file, or of a temporary one with its unpacked content. Raises InputError."""
    if path.suffix.lower() not in TOOLS:
        try:
            return os.open(path, os.O_RDONLY | BINARY)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {cause_of(error)}") from error
    with tempfile.TemporaryFile() as file:
        for block in read_blocks(path):
            file.write(block)
        file.flush()
        return os.dup(file.fileno())


def _unpack(path: Path) -> Iterator[bytes]:
    packing = path.suffix.lower()
    if packing == ".zst":
        yield from _zstd_blocks(path)
        return
    with OPENERS.get(packing, open)(path, "rb") as file:
        yield from iter(partial(file.read, BYTES), b"")


def _zstd_blocks(path: Path) -> Iterator[bytes]:
    """The content of all frames of a file of Zstandard."""
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"{path} {ZSTD_NEEDED}") from error
    with path.open("rb") as file:
        frame = None
        try:
            while data := file.read(SMALL_BYTES):
                while data:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    yield frame.decompress(data)
                    data = frame.unused_data
                    frame = None if frame.eof else frame
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        if frame is not None:
            raise EOFError("it ends before its end-of-frame mark")
