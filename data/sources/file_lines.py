"""The lines of a user's file, read from the disk when they are asked for; a gzipped file is unpacked into a
temporary one.
"""

import gzip
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, overload

from data.errors import InputError
from data.records import BYTES, Lines

MAX_BYTES = 1 << 35  # of a file, unpacked where it is gzipped
MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
# bytes at the beginning, and the share of zero bytes that no UTF-8 has; every tab of UTF-16 has one
SAMPLE = 1 << 16
MANY_ZEROS = 0.001


class FileLines(Sequence[bytes]):
    """Lines without their ends and without a byte-order mark; a slice of them is lazy too."""

    def __init__(self, lines: Lines, numbers: range) -> None:
        self.lines = lines
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> "FileLines": ...
    def __getitem__(self, place: int | slice) -> "bytes | FileLines":
        if isinstance(place, slice):
            return FileLines(self.lines, self.numbers[place])
        number = self.numbers[place]
        line = self.lines[number]
        return (line if number else line.removeprefix(MARK)).removesuffix(b"\n").rstrip(b"\r")


def file_lines(path: Path) -> FileLines:
    """The lines of a file. Raises InputError."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as packed, tempfile.TemporaryFile() as file:
                _unpack(packed, file)
                file.flush()
                descriptor = os.dup(file.fileno())
        else:
            descriptor = os.open(path, os.O_RDONLY)
        lines = Lines(descriptor)
        lines.scan(MAX_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if lines.size > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES:,} bytes of text; give a part of it")
    sample = os.pread(descriptor, SAMPLE, 0)
    zeros = sample.count(0)
    if sample.startswith(UTF16_MARKS) or zeros > max(3, MANY_ZEROS * len(sample)):
        name = "UTF-32" if sample.startswith(UTF32_MARKS) else "UTF-16"
        raise InputError(f"{path} is {name}; save it as UTF-8: iconv -f {name} -t UTF-8 FILE > NEW_FILE")
    return FileLines(lines, range(len(lines)))


def _unpack(packed: gzip.GzipFile, file: IO[bytes]) -> None:
    """Copy little more than MAX_BYTES of a file."""
    left = MAX_BYTES + 1
    while left > 0 and (block := packed.read(min(BYTES, left))):
        file.write(block)
        left -= len(block)
