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


HEADLINES = {
    "headlines": Headlines(
        help_sections.PACKAGE,
        help_sections.LANGUAGE,
        help_sections.MEANS,
        help_sections.obtain,
        help_sections.examples,
    ),
    "headlines_en": Headlines(
        headlines_en.PACKAGE,
        headlines_en.LANGUAGE,
        headlines_en.MEANS,
        headlines_en.obtain,
        headlines_en.examples,
    ),
    "headlines_zh": Headlines(
        headlines_zh.PACKAGE,
        headlines_zh.LANGUAGE,
        headlines_zh.MEANS,
        headlines_zh.obtain,
        headlines_zh.examples,
    ),
}
