"""Further sets of questions from BIG-bench (PyPI `bigbench`, Apache-2.0, 358 MB), fetched only on request.

The tasks are those on which a model of 135 to 270 million parameters is well above chance and below the
ceiling. Files are read as data, the package is never imported. They carry a canary and ask never to be in a
training corpus: nothing here may be trained on or copied. Choices continue a context as plain text; with
lettered choices, models of this size are at chance.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.documents import read_object
from data.errors import InputError
from data.obtain import pip_package
from data.sources.news import SEED, find_file
from eval.forgetting.probe_items import ChoiceItem, choice_item, question

ITEMS = 120  # of each set
MIN_ANSWERS = 8  # different answers of a relation, so that wrong ones are not always the same
ADJECTIVES = re.compile(r'a " (.*?) " b " (.*?) "')
RELATION = re.compile(r"The (.+?) of .+ (?:is|was)$")
Example = dict[str, Any]
Reader = Callable[[Sequence[Example]], list[ChoiceItem]]


def examples_of(path: Path) -> list[Example]:
    """The examples of a task file. Raises InputError."""
    examples = read_object(path).get("examples")
    if not isinstance(examples, list) or not all(
        isinstance(row, dict) and isinstance(row.get("input"), str) for row in examples
    ):
        raise InputError(
            f"{path} has no list of examples with an input; delete its package's folder to have it unpacked again"
        )
    return examples


def right_of_two(example: Example) -> tuple[str, str] | None:
    """(right, wrong) of an example that scores two choices as 1 and 0."""
    scores = example.get("target_scores")
    if not isinstance(scores, dict) or sorted(map(repr, scores.values())) != ["0", "1"]:
        return None
    right, wrong = sorted(scores, key=lambda choice: -scores[choice])
    return right, wrong


def agreement(examples: Sequence[Example]) -> list[ChoiceItem]:
    """The verb in the number of its subject, or in the other."""
    generator = random.Random(SEED)
    pairs = ((number, row["input"].strip(), right_of_two(row)) for number, row in enumerate(examples))
    return [
        choice_item(f"{number}", context, f" {pair[0]}", [f" {pair[1]}"], generator)
        for number, context, pair in pairs
        if context and pair
    ]


def adjectives(examples: Sequence[Example]) -> list[ChoiceItem]:
    """ "She bought a": the same adjectives in the usual order, or in another."""
    generator = random.Random(SEED)
    items = []
    for number, row in enumerate(examples):
        phrases = ADJECTIVES.search(row["input"])
        letters = right_of_two(row)
        if phrases and letters and set(letters) == {"a", "b"}:
            right, wrong = phrases.groups() if letters[0] == "a" else phrases.groups()[::-1]
            items.append(choice_item(f"{number}", "She bought a", f" {right}", [f" {wrong}"], generator))
    return items


def past_tense(examples: Sequence[Example]) -> list[ChoiceItem]:
    """ "Today I melt. Yesterday I": the past tense, the bare form, or that with -ing."""
    generator = random.Random(SEED)
    items = []
    for number, row in enumerate(examples):
        verb = row["input"]
        right = row.get("target")
        if isinstance(right, str) and right and verb and right not in (verb, f"{verb}ing"):
            wrong = [f" {verb}", f" {verb}ing"]
            items.append(
                choice_item(f"{number}", f"Today I {verb}. Yesterday I", f" {right}", wrong, generator)
            )
    return items


def facts(examples: Sequence[Example]) -> list[ChoiceItem]:
    """ "The language of X is": one right answer among four of the same relation; none of the wrong ones is
    right as well.
    """
    relations: dict[str, list[tuple[int, str, list[str]]]] = {}
    for number, row in enumerate(examples):
        match = RELATION.match(row["input"])
        target = row.get("target")
        answers = [target] if isinstance(target, str) else target
        if (
            match
            and isinstance(answers, list)
            and answers
            and all(isinstance(answer, str) and answer for answer in answers)
        ):
            relations.setdefault(match[1], []).append((number, row["input"], answers))
    generator = random.Random(SEED)
    items = []
    for rows in relations.values():
        relation_answers = sorted({answers[0] for _, _, answers in rows})
        for number, context, answers in rows if len(relation_answers) >= MIN_ANSWERS else ():
            others = [f" {answer}" for answer in relation_answers if answer not in answers]
            items += question(f"{number}", context, f" {answers[0]}", others, generator)
    return items


SETS: dict[str, tuple[str, Reader]] = {  # name of the set -> its file, its reader
    "bigbench_agreement": ("subject_verb_agreement/nounpp_english.json", agreement),
    "bigbench_agreement_linzen": ("subject_verb_agreement/linzen2016_english.json", agreement),
    "bigbench_adjectives": ("hyperbaton/task.json", adjectives),
    "bigbench_past_tense": ("linguistic_mappings/past_tense_json/task.json", past_tense),
    "bigbench_facts": ("qa_wikidata/task.json", facts),
}


def fixed_sample(name: str, items: Sequence[ChoiceItem]) -> tuple[ChoiceItem, ...]:
    """A fixed choice of `ITEMS` items in their order, named after their set."""
    places = sorted(random.Random(SEED).sample(range(len(items)), min(ITEMS, len(items))))
    return tuple(replace(items[i], id=f"{name}:{items[i].id}") for i in places)


def read_sets(folder: Path) -> dict[str, tuple[ChoiceItem, ...]]:
    """Every set out of the unpacked package. Raises InputError for a file that is missing or damaged."""
    return {
        name: fixed_sample(name, reader(examples_of(find_file(folder, file))))
        for name, (file, reader) in SETS.items()
    }


def extended_items(cache: Path) -> dict[str, tuple[ChoiceItem, ...]]:
    """Obtain the package (once, into `cache`) and read the sets; raises UnobtainableError where it cannot be had."""
    members = tuple(f"*/{file}" for file, _ in SETS.values())
    return read_sets(pip_package("bigbench", "1.0.0", cache, sdist=True, members=members))
