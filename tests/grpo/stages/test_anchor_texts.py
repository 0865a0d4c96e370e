"""The general texts of an anchor that mixes several sources: the share of each, and what is left out."""

from collections import Counter
from pathlib import Path

import pytest
from run_object import run_of
from transformers import PreTrainedTokenizerBase

from data.errors import InputError
from grpo.stages import anchor_setup
from grpo.stages.anchor_setup import anchor_ids, anchor_texts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty news, three questions, two lines of a file."""
    (tmp_path / "own.txt").write_text("own 0\nown 1\n", encoding="utf-8")

    def made_up(path: str, count: int, cache: Path, setting: str = "tax.text") -> list[str]:
        return [f"news {number}" for number in range(min(count, 20))]

    def named(name: str, count: int, cache: Path, setting: str) -> list[str]:
        if name == "own.txt":
            raise InputError(f"{setting} = {name}: cannot be read")
        number = {"news": 20, "questions": 3}.get(name, 2)
        return [f"{Path(name).stem} {place}" for place in range(min(count, number))]

    monkeypatch.setattr(anchor_setup, "read_general_texts", made_up)
    monkeypatch.setattr(anchor_setup, "named_texts", named)
    return tmp_path


def test_each_source_has_its_share_and_none_is_measured(folder: Path) -> None:
    mixture = f'anchor.sources={{news=2, questions=1, "{folder}/own.txt"=1.0}}'
    texts = anchor_texts(run_of(folder, [mixture, "anchor.texts=16", "tax.texts=4"]))
    kinds = Counter(text.split()[0] for text in texts)
    assert kinds == {"news": 8, "questions": 4, "own": 4}
    assert Counter(text for text in texts if text.startswith("questions")) == {
        "questions 0": 2, "questions 1": 1, "questions 2": 1,
    }  # fmt: skip
    assert {text for text in texts if text.startswith("news")} == {f"news {place}" for place in range(4, 12)}
    assert anchor_texts(run_of(folder, [mixture, "tax.texts=4"]), 2) == ["news 4", "questions 0", "own 0"]


def test_a_text_is_cut_to_max_tokens(folder: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    whole, cut = (
        anchor_ids(run_of(folder, ["tax.texts=4", f"anchor.max_tokens={count}"]), tiny_tokenizer, 3)
        for count in (64, 5)
    )
    assert min(map(len, whole)) > 5 and cut == [ids[:5] for ids in whole]


def test_without_news_and_without_a_budget_nothing_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> list[str]:
        raise AssertionError("the texts of a tax are not needed")

    monkeypatch.setattr(anchor_setup, "read_general_texts", fail)
    assert len(anchor_texts(run_of(folder, ["anchor.sources={questions=1}", "anchor.texts=5"]))) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["anchor.sources={news=0}"], r"anchor\.sources\.news: must be above 0"),
        (["anchor.sources={news=1}", "anchor.text=own.txt"], "are both given"),
    ],
)
def test_mixtures_that_cannot_work_are_refused(folder: Path, settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_of(folder, settings)


def test_a_name_that_is_nothing_is_refused_with_what_it_may_be(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"anchor\.sources \(news, questions, earlier_tasks, or a file\) = own\.txt"
    ):
        anchor_texts(run_of(folder, ['anchor.sources={"own.txt"=1.0}']))
