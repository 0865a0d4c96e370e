"""News texts out of two packages, English and Chinese: the texts of the general-competence probes. Fixed
choices, no model.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.sources.package_file import parse_file, text_of

NUM_TEXTS = 24
TEXT_CHARACTERS = 300
MIN_ENGLISH_CHARACTERS = 200
MIN_CHINESE_CHARACTERS = 120
WORD_TAG = re.compile(r"/[A-Za-z]+\s*")
SEED = 20260101


@dataclass(frozen=True)
class TextItem:
    """A held-out text; `id` names the line of its file."""

    id: str
    text: str


def find_file(folder: Path, name: str) -> Path:
    """The file called `name` (with its last folder, as `tag/199801.txt`) somewhere below an unpacked package."""
    matches = sorted(path for path in folder.rglob(Path(name).name) if path.as_posix().endswith("/" + name))
    if not matches:
        raise InputError(
            f"{folder}: no file {name} in this package; delete the folder to have it fetched again"
        )
    return matches[0]


def choose_texts(texts: Sequence[TextItem], count: int = NUM_TEXTS) -> tuple[TextItem, ...]:
    """A fixed choice of `count` texts, in their order."""
    places = random.Random(SEED).sample(range(len(texts)), min(count, len(texts)))
    return tuple(texts[i] for i in sorted(places))


def english_texts(folder: Path) -> tuple[TextItem, ...]:
    """The probes' English news."""
    return choose_texts(english_news(folder))


def english_news(folder: Path) -> list[TextItem]:
    """News texts of at most 300 characters, cut between words."""
    lines = parse_file(find_file(folder, "lee_background.cor"), text_of).split("\n")
    return [
        TextItem(f"lee_background:{number}", cut_between_words(line.strip()))
        for number, line in enumerate(lines, 1)
        if len(line.strip()) >= MIN_ENGLISH_CHARACTERS
    ]


def cut_between_words(text: str) -> str:
    """At most 300 characters, the last word whole."""
    return (
        text
        if len(text) <= TEXT_CHARACTERS
        else text[: TEXT_CHARACTERS + 1].rsplit(" ", 1)[0][:TEXT_CHARACTERS]
    )


def chinese_texts(folder: Path) -> tuple[TextItem, ...]:
    """The probes' Chinese news."""
    return choose_texts(chinese_news(folder))


def chinese_news(folder: Path) -> list[TextItem]:
    """News paragraphs of at most 300 characters, without the part-of-speech tags of the file."""
    lines = parse_file(find_file(folder, "tag/199801.txt"), text_of).split("\n")
    plain = [(number, WORD_TAG.sub("", line).strip()) for number, line in enumerate(lines, 1)]
    return [
        TextItem(f"199801:{number}", text[:TEXT_CHARACTERS])
        for number, text in plain
        if len(text) >= MIN_CHINESE_CHARACTERS
    ]
