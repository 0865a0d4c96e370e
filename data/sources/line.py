"""One line of a user's file: from bytes to text, or to the reason why it is no pair. Not here: what a format
makes of the text.
"""

MAX_LINE_BYTES = 1 << 20

Line = tuple[str, tuple[str, ...]]  # a source and its reference texts
Columns = tuple[str, str]  # names of the two columns


class BadLineError(ValueError):
    """Why one line is not a pair; never leaves the readers of users' files."""


def decode_line(line: bytes) -> str:
    """A line as text. Raises BadLineError."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLineError("not UTF-8") from None


def check_one_line(text: str) -> str:
    """The text itself. Raises BadLineError where old line ends make two lines of it."""
    if "\r" in text:
        raise BadLineError("a carriage return inside the line")
    return text
