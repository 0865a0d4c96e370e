"""Two systems' outputs on the same test items, as pairs to choose from: for a model (`eval.judge`) or a
reader (`eval.blind_sheet`).
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.documents import parse_json, parse_object, read_bytes, user_path
from data.errors import InputError
from data.language_names import short_name
from eval.run_folder import references_of, results_by_corpus

ITEM_KEYS = ("id", "source_language", "source", "reference", "output")
NO_OUTPUTS = (
    "needs a name, a target_language and items; give eval/SYSTEM.json of a run folder, or a point of a study"
)


@dataclass(frozen=True)
class Pair:
    """One test item and what the two systems wrote for it.

    `reference` has every reference text, with a line of "/" between two.
    """

    id: str
    source_language: str
    target_language: str
    source: str
    reference: str
    before: str
    after: str
    task: str = ""  # as an example names it; "" in files of earlier versions

    @property
    def is_identical(self) -> bool:
        """Equal but for space at the ends: there is nothing to choose."""
        return self.before.strip() == self.after.strip()

    def outputs(self, after_first: bool) -> tuple[str, str]:
        """The two outputs in the order in which they are shown."""
        return (self.after, self.before) if after_first else (self.before, self.after)


@dataclass(frozen=True)
class Outputs:
    """The contents of one file: the system's name, its items by id, the file's hash."""

    path: Path
    name: str
    items: dict[str, dict[str, str]]
    sha256: str


def read_outputs(path: Path) -> Outputs:
    """`eval/<system>.json` of a run, or a study's point, whose "target" is such a document. Raises InputError."""
    content = read_bytes(path)
    document = parse_object(path, parse_json(content, str(path)))
    name = document.get("system")
    place = str(path)
    if "target" in document:
        name = point_name(document)
        document = parse_object(f"{path}: target", document["target"])
        place = f"{path}: target"
    rows = [
        row
        for corpus, result in results_by_corpus(document).items()
        for row in rows_of(result, f"{place}: corpora.{corpus}" if corpus else place)
    ]
    by_id = {row["id"]: row for row in rows}
    if len(by_id) < len(rows):
        raise InputError(f"{place}: items: an id occurs twice; run the evaluation again")
    if not isinstance(name, str):
        raise InputError(f"{place}: {NO_OUTPUTS}")
    return Outputs(path, name, by_id, hashlib.sha256(content).hexdigest())


def rows_of(result: Any, place: str) -> list[dict[str, str]]:
    """The texts of the items of one test set, each with its target language. Raises InputError."""
    document = parse_object(place, result)
    items = document.get("items")
    language = document.get("target_language")
    if not isinstance(items, list) or not items or not isinstance(language, str):
        raise InputError(f"{place}: {NO_OUTPUTS}")
    rows = [checked_item(item, f"{place}: items[{number}]") for number, item in enumerate(items)]
    return [row | {"target_language": language} for row in rows]


def point_name(point: dict[str, Any]) -> str:
    """'grpo seed 0 step 100'."""
    return f"{point.get('arm')} seed {point.get('seed')} step {point.get('step')}"


def checked_item(item: Any, place: str) -> dict[str, str]:
    """The texts of an item. Raises InputError where one is missing."""
    row = parse_object(place, item)
    missing = [key for key in ITEM_KEYS if not isinstance(row.get(key), str)]
    if missing:
        raise InputError(f"{place}: {missing[0]} must be a text; run the evaluation again")
    texts = references_of(row)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{place}: references must be a list of texts; run the evaluation again")
    task = str(row.get("task", ""))
    return {key: row[key] for key in ITEM_KEYS} | {"reference": "\n/\n".join(texts), "task": task}


def make_pairs(before: Outputs, after: Outputs) -> list[Pair]:
    """The pairs in order of id. Raises InputError unless both systems have the same items."""
    where = f"{before.path} and {after.path}"
    languages = [{key: row["target_language"] for key, row in one.items.items()} for one in (before, after)]
    if languages[0] != languages[1]:
        raise InputError(f"{where} are of different test items; evaluate both systems on the same test set")
    pairs = []
    for key in sorted(before.items):
        first = before.items[key]
        second = after.items[key]
        if any(first[name] != second[name] for name in ITEM_KEYS[:-1]):
            raise InputError(
                f"{where}: item {key} is not the same in both; evaluate both systems on the same test set"
            )
        about = {name: text for name, text in first.items() if name not in ("id", "output")}
        pairs.append(Pair(id=key, before=first["output"], after=second["output"], **about))
    return pairs


def names(before: Outputs, after: Outputs) -> tuple[str, str]:
    """The names of the two systems, or their files where both have the same name."""
    return (before.name, after.name) if before.name != after.name else (str(before.path), str(after.path))


def random_pairs(pairs: Sequence[Pair], n: int, seed: int) -> list[Pair]:
    """At most `n` random pairs; a larger `n` keeps those of a smaller one and adds to them. Raises InputError
    for n < 1.
    """
    if n < 1:
        raise InputError(f"--n {n}: a number from 1 is needed")
    shuffled_pairs = list(pairs)
    random.Random(seed).shuffle(shuffled_pairs)
    return shuffled_pairs[:n]


def destination(text: str) -> Path:
    """The path of --out. Raises InputError for a text that can be no file."""
    path = user_path(text)
    if not path.name or "\0" in text:
        raise InputError(f"--out {text!r}: no name for a file or folder; give another")
    return path


def language_label(code: str) -> str:
    """'bo' -> 'Tibetan'; the code of a language without a name."""
    name = short_name(code)
    return name if name != code else f"the language {code!r}"


def task_word(pair: Pair) -> str:
    """What a system wrote, in a word. Where the task is not known it is a headline if source and target language are
    the same, else a translation.

    >>> task_word(Pair("1", "en", "en", "", "", "", "", task="answer"))
    'answer'
    """
    likely = "headline" if pair.source_language == pair.target_language else "translation"
    return {"": likely, "mt": "translation", "free": "text"}.get(pair.task, pair.task)
