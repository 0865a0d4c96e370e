"""Lists of examples whose texts stay on disk: memory holds the place and the size of each line.

Parts of them, and what is computed of each, are views: they read an example when it is asked for.
"""

import os
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from data.errors import InputError
from data.examples import Example, example_of, line_of
from data.grams import Ints, starts_of
from data.system import BINARY, read_at, write_at

BYTES = 1 << 20  # that are read or written at once
SAMPLE = 100_000  # examples at most from which something about a corpus is measured
Item = TypeVar("Item")
Result = TypeVar("Result")


class View(Sequence[Item]):
    """A sequence that reads or computes an item when it is asked for. A slice is a view too."""

    def item(self, place: int) -> Item:
        """The item at a place from 0 on."""
        raise NotImplementedError

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> "Selection[Item]": ...
    def __getitem__(self, place: int | slice) -> "Item | Selection[Item]":
        if isinstance(place, slice):
            return Selection(self, range(len(self))[place])
        return self.item(range(len(self))[place])

    def __iter__(self) -> Iterator[Item]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == another for one, another in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


class Selection(View[Item]):
    """Some of the items of another sequence, by their places."""

    def __init__(self, items: Sequence[Item], places: Ints | Sequence[int]) -> None:
        self.items = items
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def item(self, place: int) -> Item:
        return self.items[int(self.places[place])]


class Lines(View[bytes]):
    """The lines of an open file, with their ends: line i has `sizes[i]` bytes from `begins[i]` on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.begins = array("q")
        self.sizes = array("q")
        weakref.finalize(self, os.close, descriptor)

    @property
    def size(self) -> int:
        """Bytes of all lines that were found."""
        return self.begins[-1] + self.sizes[-1] if self.begins else 0

    def scan(self, limit: int | None = None) -> None:
        """Find the lines of the file; it may stop behind `limit` bytes."""
        position = begin = 0
        while (limit is None or position <= limit) and (block := read_at(self.descriptor, BYTES, position)):
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (position + 1)
            position += len(block)
            self._extend(begin, ends)
            begin = int(ends[-1]) if len(ends) else begin
        if begin < position:
            self._extend(begin, np.array([position]))

    def _extend(self, begin: int, ends: Ints) -> None:
        begins = np.concatenate([[begin], ends[:-1]])[: len(ends)].astype(np.int64)
        self.begins.frombytes(begins.tobytes())
        self.sizes.frombytes((ends - begins).astype(np.int64).tobytes())

    def __len__(self) -> int:
        return len(self.begins)

    def item(self, place: int) -> bytes:
        return read_at(self.descriptor, self.sizes[place], self.begins[place])


class Records(View[Example]):
    """The examples of a file with one of `line_of` a line, read when they are asked for. Raises InputError
    for a file or line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.lines = Lines(os.open(path, os.O_RDONLY | BINARY))
            self.lines.scan()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); delete its folder to have it made again"
            ) from error

    def __len__(self) -> int:
        return len(self.lines)

    def item(self, place: int) -> Example:
        return example_of(self.lines[place], f"{self.path}:{place + 1}")


class Store(View[Example], MutableSequence[Example]):  # type: ignore[misc]
    """A list of examples in a new file, which must not exist. A changed example is written behind the others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = Lines(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o600))
        self.buffer = bytearray()
        self.end = 0  # of the file with what the buffer holds

    def append(self, value: Example) -> None:
        """Write an example behind the others."""
        self.lines.begins.append(self.end)
        self.lines.sizes.append(self._write(value))

    def __setitem__(self, place: Any, value: Any) -> None:
        self.lines.begins[place] = self.end
        self.lines.sizes[place] = self._write(value)

    def _write(self, example: Example) -> int:
        """Write an example to the end; its number of bytes."""
        line = line_of(example)
        self.buffer += line
        self.end += len(line)
        if len(self.buffer) > BYTES:
            self._flush()
        return len(line)

    def _flush(self) -> None:
        position = self.end - len(self.buffer)
        while self.buffer:
            written = write_at(self.lines.descriptor, self.buffer, position)
            del self.buffer[:written]
            position += written

    def line(self, place: int) -> bytes:
        """An example as it is in the file."""
        if self.buffer and self.lines.begins[place] + self.lines.sizes[place] > self.end - len(self.buffer):
            self._flush()
        return self.lines[place]

    def __len__(self) -> int:
        return len(self.lines)

    def item(self, place: int) -> Example:
        return example_of(self.line(place), f"{self.path}:{place + 1}")

    def __delitem__(self, place: Any) -> None:
        raise TypeError("an example that was written stays")

    def insert(self, index: int, value: Example) -> None:
        """Not possible. Raises TypeError."""
        raise TypeError("examples are only appended")


class Chain(View[Example]):
    """Several sequences of examples, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts
        self.starts = starts_of(np.array([len(part) for part in parts], np.int64))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def item(self, place: int) -> Example:
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.parts[part][place - int(self.starts[part])]

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self.parts)


class Mapped(View[Result], Generic[Item, Result]):
    """A function of each item of another sequence, computed when it is asked for."""

    def __init__(self, items: Sequence[Item], function: Callable[[Item], Result]) -> None:
        self.items = items
        self.function = function

    def __len__(self) -> int:
        return len(self.items)

    def item(self, place: int) -> Result:
        return self.function(self.items[place])

    def __iter__(self) -> Iterator[Result]:
        return map(self.function, self.items)


def places_where(examples: Iterable[Example], condition: Callable[[Example], object]) -> Ints:
    """The places of the examples that meet a condition, ascending."""
    return np.fromiter((place for place, one in enumerate(examples) if condition(one)), np.int64)


def examples_where(examples: Sequence[Example], condition: Callable[[Example], object]) -> Selection[Example]:
    """The examples that meet a condition."""
    return Selection(examples, places_where(examples, condition))


def sample_of(examples: Sequence[Example], most: int = SAMPLE) -> Sequence[Example]:
    """The examples, or at most so many of them, spread evenly over all."""
    count = len(examples)
    return examples if count <= most else Selection(examples, np.arange(most) * count // most)
