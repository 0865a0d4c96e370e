"""The built-in corpora of headlines: a text and its headline, in one language."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.examples import Example
from data.obtain import Archive
from data.sources import headlines_en, headlines_zh, help_sections


@dataclass(frozen=True)
class Headlines:
    """One package, its language, its description in the manifest, and its reader."""

    package: str
    language: str
    means: str
    obtain: Callable[[Path, Callable[[str], None]], Archive]
    examples: Callable[[Archive, Path], Iterator[Example]]


READERS = {"headlines": help_sections, "headlines_en": headlines_en, "headlines_zh": headlines_zh}
HEADLINES = {
    name: Headlines(reader.PACKAGE, reader.LANGUAGE, reader.MEANS, reader.obtain, reader.examples)
    for name, reader in READERS.items()
}
