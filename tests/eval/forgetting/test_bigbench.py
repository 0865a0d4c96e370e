"""Questions out of invented BIG-bench files: the canary of the real ones forbids to copy any here."""

import json
from pathlib import Path
from typing import Any

import pytest
from invented_bytes import assert_one_sentence, damaged_files, for_all, times

from data.cache import cache_dir
from data.errors import InputError
from eval.forgetting.bigbench import (
    ITEMS,
    SETS,
    adjectives,
    agreement,
    examples_of,
    extended_items,
    facts,
    fixed_sample,
    past_tense,
    read_sets,
)
from eval.forgetting.probe_items import ChoiceItem


def write_sets(folder: Path, count: int = 150) -> None:
    """Every file with `count` invented examples."""
    two = [
        {"input": f"thing {number} ", "target_scores": {"is": number % 2, "are": 1 - number % 2}}
        for number in range(count)
    ]
    order = [
        {
            "input": f'Which: a " old red cup{number} " b " red old cup{number} " ?',
            "target_scores": {"a": number % 2, "b": 1 - number % 2},
        }
        for number in range(count)
    ]
    verbs = [{"input": f"verb{number}", "target": f"verb{number}ed"} for number in range(count)]
    known = [
        {"input": f"The sound of animal{number} is", "target": f"sound{number % 12}"}
        for number in range(count)
    ]
    for file, rows in zip((file for file, _ in SETS.values()), (two, two, order, verbs, known), strict=True):
        path = folder / "benchmark_tasks" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"name": "x", "examples": rows}), encoding="utf-8")


def test_every_set_has_its_fixed_number_of_named_items(tmp_path: Path) -> None:
    write_sets(tmp_path)
    sets = read_sets(tmp_path)
    assert {name: len(items) for name, items in sets.items()} == dict.fromkeys(SETS, ITEMS)
    assert sets == read_sets(tmp_path)
    for name, items in sets.items():
        assert len({item.id for item in items}) == ITEMS and all(
            item.id.startswith(f"{name}:") for item in items
        )
        assert all(
            len(set(item.choices)) == len(item.choices) and item.choices[item.answer] for item in items
        )
        assert len({item.answer for item in items}) > 1


def right(item: ChoiceItem) -> tuple[str, str]:
    return item.context, item.choices[item.answer]


def test_agreement_takes_the_choice_that_scores_one() -> None:
    rows = [
        {"input": "the cup ", "target_scores": {"is": 1, "are": 0}},
        {"input": "the cups ", "target_scores": {"is": 0, "are": 1}},
        {"input": "one choice", "target_scores": {"is": 0}},
        {"input": "two right", "target_scores": {"is": 1, "are": 1}},
    ]
    assert [right(item) for item in agreement(rows)] == [("the cup", " is"), ("the cups", " are")]


def test_adjectives_are_scored_as_phrases_not_as_letters() -> None:
    scores = {"cup": {"a": 1, "b": 0}, "hat": {"a": 0, "b": 1}}
    rows = [
        {"input": f'a " old red {noun} " b " red old {noun} " ?', "target_scores": score}
        for noun, score in scores.items()
    ]
    assert [right(item) for item in adjectives(rows)] == [
        ("She bought a", " old red cup"),
        ("She bought a", " red old hat"),
    ]
    assert set(adjectives(rows)[0].choices) == {" old red cup", " red old cup"}


def test_past_tense_against_bare_form_and_ing() -> None:
    rows: list[dict[str, Any]] = [
        {"input": "walk", "target": "walked"},
        {"input": "put", "target": "put"},
        {"input": "go", "target": None},
    ]
    (item,) = past_tense(rows)
    assert right(item) == ("Today I walk. Yesterday I", " walked")
    assert set(item.choices) == {" walk", " walked", " walking"}


def test_wrong_answers_of_a_fact_are_of_its_relation_and_not_right_as_well() -> None:
    rows: list[dict[str, Any]] = [
        {"input": f"The sound of animal{number} is", "target": f"sound{number}"} for number in range(9)
    ]
    # too few answers
    rows += [{"input": f"The colour of thing{number} is", "target": f"colour{number}"} for number in range(3)]
    rows.append(
        {"input": "The sound of many is", "target": ["sound0", *(f"sound{number}" for number in range(1, 6))]}
    )
    items = facts(rows)
    assert len(items) == 10 and not any("colour" in choice for item in items for choice in item.choices)
    assert right(items[-1]) == ("The sound of many is", " sound0")
    assert {choice.strip() for choice in items[-1].choices} == {"sound0", "sound6", "sound7", "sound8"}


def test_few_items_are_all_taken() -> None:
    items = [ChoiceItem(str(number), "c", ("a", "b"), 0) for number in range(3)]
    assert [item.id for item in fixed_sample("x", items)] == ["x:0", "x:1", "x:2"]


@times(100)
def test_a_damaged_file_is_items_or_one_sentence(count: int, tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    fact = {"input": "The sound of a dog is", "target": ["bark"], "target_scores": {"a": 1, "b": 0}}
    rows = [fact, {"input": 'a " b " b " c "', "target": "x"}]

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            examples = examples_of(path)
        except InputError as error:
            assert_one_sentence(error, path)
            return
        for _, read in SETS.values():
            assert all(0 <= item.answer < len(item.choices) for item in read(examples))

    for_all(count, check, damaged_files(json.dumps({"examples": rows}).encode()))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no file subject_verb_agreement/nounpp_english\.json in this package"
    ):
        read_sets(tmp_path)


@pytest.mark.real
def test_the_real_sets_have_their_numbers() -> None:
    if not (cache_dir() / "packages" / "pip" / "bigbench-1.0.0").exists():
        pytest.skip("bigbench is not in the cache; run an evaluation with eval.extended_probes = true first")
    sets = extended_items(cache_dir())
    assert {name: len(items) for name, items in sets.items()} == dict.fromkeys(SETS, ITEMS)
