"""The output: a line for every line of the input, in order, and the record by which an interrupted command goes on.

Beside OUTPUT lies OUTPUT.record.json: how the output was made, how much of it is finished, and the hashes of that part
and of the input lines that it belongs to. What stands behind the finished part was being written when the command
was stopped, and is written again.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text, name_disk_errors
from data.console import number_of
from data.documents import read_object, user_path
from data.errors import InputError
from data.model_settings import OBJECT, TEXT, WHOLE, check_kinds
from data.sources.packed_file import TOOLS
from data.system import BINARY, lock, read_at
from grpo.translate.source import STDIN, Source, is_special

FORMAT = 1
BLOCK = 1 << 20
CURE = "restore the file, or remove it and the output"
RECORD = {
    "made_by": OBJECT, "lines": WHOLE, "bytes": WHOLE, "input_sha256": TEXT, "output_sha256": TEXT, "counts": OBJECT,
}  # fmt: skip
COUNTS = {"problems": OBJECT, "without_text": WHOLE, "cut": WHOLE}
Json = dict[str, Any]


@dataclass
class Counts:
    """What the last sentence says: lines left empty by reason, with the first of each; outputs without text; outputs
    that were cut at the length limit.
    """

    # reason -> [count, number of the first line]
    problems: dict[str, list[int]] = field(default_factory=dict)
    without_text: int = 0
    cut: int = 0


class Output:
    """An open file of finished lines; `lines` of them belong to the first lines of the source."""

    def __init__(self, path: Path, descriptor: int, source: Source, made_by: Json) -> None:
        self.path = path
        self.descriptor = descriptor
        self.source = source
        self.made_by = made_by
        self.lines = 0
        self.bytes = 0
        self.counts = Counts()
        self.input_digest = sha256()
        self.output_digest = sha256()

    def add(self, rows: Sequence[bytes]) -> None:
        """Finish the next lines: on disk when this returns."""
        content = b"".join(row + b"\n" for row in rows)
        with name_disk_errors(self.path):
            write_all(self.descriptor, content)
            os.fsync(self.descriptor)
        self._count(rows, content)
        self.record()

    def record(self) -> None:
        """Write down what is finished."""
        record = {
            "format": FORMAT,
            "made_by": self.made_by,
            "lines": self.lines,
            "bytes": self.bytes,
            "input_sha256": self.input_digest.hexdigest(),
            "output_sha256": self.output_digest.hexdigest(),
            "counts": vars(self.counts),
        }
        atomic_write_text(record_path(self.path), json.dumps(record, ensure_ascii=False, indent=1) + "\n")

    def _count(self, rows: Sequence[bytes], content: bytes) -> None:
        self.output_digest.update(content)
        for line in self.source.lines[self.lines : self.lines + len(rows)]:
            self.input_digest.update(line + b"\n")
        self.lines += len(rows)
        self.bytes += len(content)

    def go_on(self, record: Json) -> None:
        """Take up the finished part that a record tells of, and cut off what is behind it. Raises InputError where the
        record is of another output, or a part has changed.
        """
        place = record_path(self.path)
        check_kinds(place, dict.fromkeys(RECORD) | record, RECORD, CURE)
        check_kinds(f"{place}: counts", dict.fromkeys(COUNTS) | record["counts"], COUNTS, CURE)
        check_made_by(self.path, record["made_by"], self.made_by)
        count, size = record["lines"], record["bytes"]
        for line in self.source.lines[:count]:
            self.input_digest.update(line + b"\n")
        if len(self.source) < count or self.input_digest.hexdigest() != record.get("input_sha256"):
            raise InputError(
                f"{self.path}: its {count:,} finished lines belong to another input than {self.source.name}; "
                "give another --output, or remove it"
            )
        for block in blocks_of(self.descriptor, size):
            self.output_digest.update(block)
        if self.output_digest.hexdigest() != record.get("output_sha256"):
            raise InputError(
                f"{self.path}: its finished lines have changed since they were written; give another --output, or "
                "remove it"
            )
        if count == len(self.source) and os.fstat(self.descriptor).st_size > size:
            raise InputError(
                f"{self.path}: has more than its {number_of(count, 'finished line')}, and nothing is left to translate; take "
                "the rest out, or give another --output"
            )
        self.lines, self.bytes = count, size
        self.counts = Counts(**record["counts"])
        os.ftruncate(self.descriptor, size)


class Stream:
    """Standard output in the place of a file: nothing is kept, so nothing can go on."""

    def __init__(self) -> None:
        self.lines = 0
        self.counts = Counts()

    def add(self, rows: Sequence[bytes]) -> None:
        """Print the next lines."""
        sys.stdout.buffer.write(b"".join(row + b"\n" for row in rows))
        sys.stdout.buffer.flush()
        self.lines += len(rows)


@contextmanager
def open_output(path: Path, source: Source, made_by: Json) -> Iterator[Output]:
    """The output in a file, for this process alone; its finished lines stay. Raises InputError for a file that this
    command has not made, or not from this input in this way.
    """
    record = record_path(path)
    if not path.exists():
        record.unlink(missing_ok=True)
    elif not record.exists() and path.stat().st_size:
        raise InputError(
            f"{path}: is there already, and not as a translation; give another --output, or remove it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o644)
    try:
        try:
            lock(descriptor)
        except BlockingIOError as error:
            raise InputError(f"{path}: another process writes it now; wait for its end") from error
        output = Output(path, descriptor, source, made_by)
        if record.exists():
            output.go_on(read_object(record))
        else:
            output.record()
        os.lseek(descriptor, output.bytes, os.SEEK_SET)
        yield output
    finally:
        os.close(descriptor)


def check_place(path: Path, source: str) -> None:
    """InputError for a path that is the input `source`, or that an interrupted command could not go on with."""
    if path.is_dir():
        raise InputError(f"--output {path}: is a folder; name a file in it")
    if is_special(path):
        raise InputError(
            f"--output {path}: is a pipe or a device; leave --output out, and the lines go to standard output"
        )
    if path.suffix.lower() in TOOLS:
        raise InputError(f"--output {path}: the output is not packed; write {path.with_suffix('')}")
    if path.exists() and source != STDIN and path.samefile(user_path(source)):
        raise InputError(f"--output {path}: is the input itself; name another file")


def record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.record.json")


def check_made_by(path: Path, before: object, now: Mapping[str, Any]) -> None:
    """InputError that names the first thing in which the finished lines were made otherwise."""
    old = before if isinstance(before, dict) else {}
    for name, value in json.loads(json.dumps(now)).items():
        if old.get(name) != value:
            raise InputError(
                f"{path}: its finished lines were made with {name} = {old.get(name)!r}, not {value!r}; restore "
                "that, or give another --output"
            )


def blocks_of(descriptor: int, size: int) -> Iterator[bytes]:
    """The first bytes of a file; fewer where it is shorter."""
    position = 0
    while position < size and (block := read_at(descriptor, min(BLOCK, size - position), position)):
        position += len(block)
        yield block


def write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
