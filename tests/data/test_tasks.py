"""The task of a file of one's own: the wording of its prompts, and what a judge is asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_words import write_pairs, write_texts

from data.config import DataConfig, check
from data.errors import InputError
from data.examples import Example
from data.prepare import prepare
from data.template import CHAT, Wording
from eval.preference.pairs import Pair
from eval.preference.prompt import question

QUESTION = Example("1", "ལམ་ག་པར", "在北边", "user", "", "bo", "zh")
PLAIN = {
    "mt": "藏文：ལམ་ག་པར\n中文：",
    "headline": "藏文：ལམ་ག་པར\n中文标题：",
    "summary": "藏文：ལམ་ག་པར\n中文摘要：",
    "answer": "藏文问题：ལམ་ག་པར\n中文回答：",
    "free": "ལམ་ག་པར",
}
REQUESTS = {
    "mt": "Translate this text from Tibetan to Chinese. Answer with the translation only.\n\nལམ་ག་པར",
    "summary": "Summarise this text in Tibetan. Write the summary in Chinese, and nothing else.\n\nལམ་ག་པར",
    "answer": "Answer this question in Chinese. Give the answer only.\n\nལམ་ག་པར",
    "free": "ལམ་ག་པར",
}
JUDGE = {
    "": "You compare two translations of the same text. They translate from Tibetan into Chinese.",
    "mt": "You compare two translations of the same text. They translate from Tibetan into Chinese.",
    "headline": "You compare two headlines of the same text. They are headlines of a text in Tibetan.",
    "summary": "You compare two summaries of the same text. They summarise a text in Tibetan, and are to be in Chinese.",
    "answer": "You compare two answers to the same question. They answer a question in Tibetan, and are to be in Chinese.",
    "free": "You compare two texts. They go on from a beginning in Tibetan, and are to be in Chinese.",
}


@pytest.mark.parametrize(("task", "text"), PLAIN.items())
def test_each_task_has_its_plain_wording(task: str, text: str) -> None:
    assert Wording().text(replace(QUESTION, task=task)) == text


@pytest.mark.parametrize(("task", "text"), REQUESTS.items())
def test_each_task_has_its_instruction(task: str, text: str) -> None:
    assert Wording(template=CHAT).request(replace(QUESTION, task=task)) == text


@pytest.mark.parametrize(("task", "beginning"), JUDGE.items())
def test_a_judge_is_asked_by_the_task(task: str, beginning: str) -> None:
    pair = Pair("1", "bo", "zh", "source", "reference", "one", "two", task)
    assert question(pair, after_first=False).startswith(beginning + "\n")


@pytest.mark.parametrize(("setting", "task"), [("", "mt"), ("translation", "mt"), ("answer", "answer")])
def test_the_setting_reaches_pairs_test_sets_and_prompts(tmp_path: Path, setting: Any, task: str) -> None:
    config = DataConfig(
        train=write_pairs(tmp_path / "train.tsv", list(range(40))),
        tests={"other": write_pairs(tmp_path / "other.tsv", [50])},
        prompts=write_texts(tmp_path / "prompts.txt", [60]),
        source_language="sw",
        target_language="sw",
        task=setting,
    )
    check(config)
    corpus = prepare(config, tmp_path / "cache", lambda line: None)
    examples = [*corpus.train, *corpus.warm_start, *corpus.test, *corpus.tests["other"]]
    assert {example.task for example in examples} == {task}


def test_the_task_of_a_built_in_corpus_is_known() -> None:
    with pytest.raises(InputError) as refusal:
        check(DataConfig(task="headline"))
    assert str(refusal.value) == "data.task=headline: the task of data.corpus=tibetan is known; leave it out"
