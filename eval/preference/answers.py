"""Stores every answer of a judge at once as one JSON line, so that a stopped run asks only for the rest.

The key of a line is the hash of all that the answer depends on (judge, settings, question). So one file
serves any number of comparisons, and a changed prompt or setting is asked again.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from data.documents import parse_json, parse_object
from data.errors import InputError
from data.system import BINARY, lock

Reply = dict[str, Any]  # "reply": str, and other fields of the judge, such as "scores"


class Judge(Protocol):
    """A model that answers questions; its answers depend on `name`, `settings` and the question alone."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    def ask(self, question: str) -> Reply: ...


def request_key(judge: Judge, question: str) -> str:
    """SHA-256 of judge, settings and question."""
    request = json.dumps([judge.name, judge.settings, question], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(request.encode()).hexdigest()


class Answers:
    """The answers in a file; `num_new` counts those that this process asked for."""

    def __init__(self, descriptor: int, replies: dict[str, Reply]) -> None:
        self._descriptor = descriptor
        self._replies = replies
        self.num_new = 0

    def get(self, judge: Judge, question: str) -> Reply:
        """The answer from the file, else from the judge; a new one is on disk before it is returned."""
        key = request_key(judge, question)
        if key not in self._replies:
            reply = judge.ask(question)
            line = json.dumps({"key": key, **reply}, ensure_ascii=False, allow_nan=False) + "\n"
            write_all(self._descriptor, line.encode())
            os.fsync(self._descriptor)
            self._replies[key] = reply
            self.num_new += 1
        return self._replies[key]


def write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


@contextmanager
def open_answers(path: Path) -> Iterator[Answers]:
    """The answers in `path`, which is created if it is missing and locked for this process.

    Raises InputError for a damaged line, or if another process has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
    try:
        try:
            lock(descriptor)
        except BlockingIOError as error:
            raise InputError(
                f"{path}: another process is writing answers into it; wait for it or give another --out"
            ) from error
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a process that was killed may have left half a line
        os.ftruncate(descriptor, len(whole))
        yield Answers(
            descriptor,
            dict(read_line(line, f"{path}:{number}") for number, line in enumerate(whole.splitlines(), 1)),
        )
    finally:
        os.close(descriptor)


def read_line(line: bytes, place: str) -> tuple[str, Reply]:
    """(key, reply) of one line. Raises InputError."""
    row = parse_object(place, parse_json(line, place))
    if not isinstance(row.get("key"), str) or not isinstance(row.get("reply"), str):
        raise InputError(f"{place}: an answer needs the texts 'key' and 'reply'; remove this line")
    return row["key"], {name: value for name, value in row.items() if name != "key"}
