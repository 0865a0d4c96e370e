"""Prompts without reference texts: they join the part train, and none is near a dev or test pair."""

import json
from pathlib import Path
from typing import Any

import pytest
from invented_words import prepare_pairs, words, write_pairs, write_texts

from data.errors import InputError
from data.settings import build
from grpo.config import Config
from grpo.config_check import check
from reward.script import script


def test_prompts_join_train_without_those_near_dev_or_test(tmp_path: Path) -> None:
    """200 is near to the own test set, 201 comes twice, one is too short, and one is of the dev set."""
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    test = write_pairs(tmp_path / "test.tsv", [200])
    first, _ = prepare_pairs(tmp_path, train=train, test=test, dev_size=5)
    dev = first.dev[0].source
    write_texts(tmp_path / "prompts.txt", [200, 201, 201, 203])
    with (tmp_path / "prompts.txt").open("a", encoding="utf-8") as file:
        file.write(f"word\n\n{dev}\n")
    corpus, lines = prepare_pairs(
        tmp_path, train=train, test=test, dev_size=5, prompts=str(tmp_path / "prompts.txt")
    )
    prompts = [example for example in corpus.train if not example.reference]
    assert [example.source for example in prompts] == [words(201), words(203)]
    assert all(example.references == () and example.target_language == "en" for example in prompts)
    assert len(corpus.train) == len(first.train) + 2 and corpus.test == first.test and corpus.dev == first.dev
    assert corpus.manifest["prompts"] == {
        "read": 6,
        "dropped": {"duplicate": 1, "source too short": 1, "near a pair of data.dev or data.test": 2},
    }
    assert any(
        line.startswith("data: 6 prompts without reference texts read; dropped: 2 near") for line in lines
    )


def test_prompts_of_jsonl_are_those_of_the_source_column(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [{"text": {"sw": words(300)}}, {"text": {"en": "x"}}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"^data\.prompts=.*: of 2 texts 1 can be used \(1 empty\), and at most"
    ):
        prepare_pairs(
            tmp_path,
            train=train_with_columns(tmp_path),
            prompts=str(path),
            source_column="text.sw",
            reference_column="2",
        )


def train_with_columns(folder: Path) -> str:
    path = folder / "columns.tsv"
    rows = Path(write_pairs(folder / "rows.tsv", list(range(100)))).read_text(encoding="utf-8")
    path.write_text(f"text.sw\t2\n{rows}", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "cause"), [("gone.txt", "is not a file"), ("a.csv", "is of an unknown kind")]
)
def test_other_files_are_refused(tmp_path: Path, name: str, cause: str) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    (tmp_path / "a.csv").write_text("a,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"^data\.prompts: .*{name} {cause}; give a \.txt or \.jsonl file"):
        prepare_pairs(tmp_path, train=train, prompts=str(tmp_path / name))


def config_of(**more: Any) -> Config:
    reward = {"weights": {"script": 1.0}, "gates": [], "shown": [], "threshold": 0.1}
    data = {"train": "a.tsv", "prompts": "b.txt"}
    values = {"data": data, "reward": reward | more.pop("reward", {}), **more}
    return build(Config, values, "test")  # type: ignore[no-any-return]


def test_a_reward_that_needs_no_reference_text_is_taken() -> None:
    check(config_of())
    check(config_of(reward={"weights": {"mine.py:judge": 1.0}}))


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"reward": {"gates": ["length_fit"], "shown": ["chrf"]}},
            "the reward terms length_fit, chrf need one; leave them out of reward.weights, reward.gates and reward.shown",
        ),
        ({"train": {"method": "sft"}}, "train.method = 'sft' learns from them; write another method"),
        (
            {"train": {"method": "self_distillation"}},
            "train.method = 'self_distillation' learns from them; write another method",
        ),
        ({"guide": {"mode": "term"}}, "guide.mode = 'term' learns from them; write guide.mode='none'"),
        ({"reward": {"control": "shuffled"}}, "reward.control = 'shuffled' exchanges them; write 'random'"),
    ],
)
def test_what_needs_a_reference_text_is_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError) as refusal:
        check(config_of(**settings))
    expected = f"data.prompts: prompts have no reference text, and {cause}, or leave data.prompts out"
    assert str(refusal.value) == expected


def test_terms_without_a_reference_text_give_their_numbers() -> None:
    texts = ["甲乙 abc", "甲"]
    assert script(["a", "b"], texts, [(), ()], target_script="Hani").tolist() == [0, 1]
    assert script(["a", "b"], texts, [("abc",), ()], target_script="Hani").tolist() == [1, 1]
