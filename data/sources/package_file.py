"""Reads files out of packages, which may be cut off, damaged or harmful: either the content, or one sentence
with the path.

A parser of a format takes bytes and raises `FormatError` with the reason; `parse_file` adds the path.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data.errors import InputError

MAX_FILE_BYTES = 64 << 20  # the largest read here has some 1 MB

Result = TypeVar("Result")


class FormatError(ValueError):
    """Why some bytes are not in their file's format."""


def parse_file(path: Path, parse: Callable[[bytes], Result]) -> Result:
    """Parse a file's bytes with `parse`. Raises InputError for a file that is missing, too large or not in
    its format.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise FormatError(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
        return parse(content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); delete its package's folder to have it unpacked again"
        ) from error
    except FormatError as error:
        raise InputError(f"{path} {error}; delete its package's folder to have it unpacked again") from error


def text_of(content: bytes) -> str:
    """UTF-8 text, without a byte-order mark and with `\\n` as the only end of a line; raises FormatError."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"is not UTF-8 at byte {error.start}") from error
