"""The lines of a user's file, read from the disk when they are asked for; a packed file is unpacked into a
temporary one.
"""

from pathlib import Path

from data.errors import InputError
from data.records import Lines, View
from data.sources import packed_file
from data.sources.encoding import command_to_convert, wide_encoding
from data.sources.other_kinds import other_kind
from data.system import read_at

MARK = b"\xef\xbb\xbf"
SAMPLE = 1 << 16  # bytes at the beginning that show the encoding


class FileLines(View[bytes]):
    """Lines without their ends and without a byte-order mark."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def item(self, place: int) -> bytes:
        line = self.lines[place]
        return (line if place else line.removeprefix(MARK)).removesuffix(b"\n").rstrip(b"\r")


def file_lines(path: Path) -> FileLines:
    """The lines of a file. Raises InputError."""
    descriptor = packed_file.open_unpacked(path)
    lines = Lines(descriptor)
    limit = packed_file.MAX_BYTES
    try:
        lines.scan(limit)
        sample = read_at(descriptor, SAMPLE, 0)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {packed_file.cause_of(error)}") from error
    if lines.size > limit:
        raise InputError(f"{path} has more than {limit:,} bytes of text; give a part of it")
    if kind := other_kind(path, sample.removeprefix(MARK)):
        raise InputError(f"{path} {kind}")
    if encoding := wide_encoding(sample):
        raise InputError(f"{path} is {encoding[:6]}; save it as UTF-8: {command_to_convert(path, encoding)}")
    return FileLines(lines)
