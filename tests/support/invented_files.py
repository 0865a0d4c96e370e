"""Files of a test, written with their folder, and what a reader makes of them."""

from pathlib import Path

from data.sources.user_file import Reading


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs_in(reading: Reading) -> list[tuple[str, str]]:
    """The texts of a reading without bad lines."""
    assert reading.bad_lines == []
    return [(example.source, example.reference) for example in reading.examples]
