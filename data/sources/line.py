"""Decodes one line of a user's file, or says why it is no pair. The readers of the formats use it."""

MAX_LINE_BYTES = 1 << 20

Line = tuple[str, tuple[str, ...]]  # a source and its reference texts
Columns = tuple[str, str]  # names of the two columns


class BadLineError(ValueError):
    """Why one line is not a pair; the readers of users' files catch it."""


def decode_line(line: bytes) -> str:
    """Decode a line as UTF-8. Raises BadLineError."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLineError("not UTF-8") from None


def check_one_line(text: str) -> str:
    """Return the text. Raises BadLineError where an old line end (a carriage return) divides it."""
    if "\r" in text:
        raise BadLineError("a carriage return inside the line")
    return text
