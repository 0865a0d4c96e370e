"""What a prompt says: names of languages, own text, examples in the prompt, and settings that cannot work."""

from dataclasses import replace
from typing import Any

import pytest

from data.config import DataConfig
from data.corpora_config import CorpusConfig
from data.errors import InputError
from data.examples import Example
from data.prompt import visible
from data.prompt_config import PromptConfig, check, default_template
from data.shots import take_shots
from data.template import CHAT, ENGLISH, PLAIN, Wording

EXAMPLE = Example("1", "Habari {source}", "Hello", "o", "l", "swh_Latn", "eng_Latn")
SHOTS = (replace(EXAMPLE, source="moja", reference="one"), replace(EXAMPLE, source="mbili", reference="two"))
OWN = "{source_language}> {source}\n{target_language}>"
TRAIN = [replace(EXAMPLE, id=str(n)) for n in range(20)]


def test_own_text_names_languages_in_english_and_leaves_braces_of_the_source_alone() -> None:
    sw = replace(EXAMPLE, source_language="sw", target_language="en")
    assert Wording(OWN).text(sw) == "Swahili> Habari {source}\nEnglish>"
    assert Wording('{"ask": "{source}"}').text(sw) == '{"ask": "Habari {source}"}'


def test_labels_replace_the_names_in_every_wording() -> None:
    labels = {"source_label": "Kiswahili", "target_label": "Kiingereza"}
    assert Wording(OWN, **labels).text(EXAMPLE).startswith("Kiswahili> ")
    assert Wording(**labels).text(EXAMPLE) == "Kiswahili：Habari {source}\nKiingereza："
    assert "from Kiswahili to Kiingereza" in Wording(CHAT, **labels).request(EXAMPLE)


def test_a_chat_asks_by_task_or_in_own_words() -> None:
    (turn,) = Wording(CHAT).messages(EXAMPLE)
    assert turn["role"] == "user" and turn["content"].startswith("Translate this text from ")
    assert Wording(CHAT).request(replace(EXAMPLE, task="headline")).startswith("Write a headline in ")
    own = Wording(
        CHAT,
        system="Be brief in {target_language}.",
        instruction="In {target_language}: {source}",
        target_label="X",
    )
    assert own.messages(EXAMPLE) == [
        {"role": "system", "content": "Be brief in X."},
        {"role": "user", "content": "In X: Habari {source}"},
    ]


def test_examples_stand_before_the_prompt_in_its_own_form() -> None:
    text = Wording(OWN, source_label="S", target_label="T", shots=SHOTS).text(EXAMPLE)
    assert text == "S> moja\nT>one\nS> mbili\nT>two\nS> Habari {source}\nT>"
    wide = Wording(OWN, source_label="S", target_label="T", shots=SHOTS, lines="many").text(EXAMPLE)
    assert wide == "S> moja\nT>one\n\nS> mbili\nT>two\n\nS> Habari {source}\nT>"


def test_examples_stand_where_the_field_says() -> None:
    wording = Wording("Like:\n{examples}\nNow: {source}", source_label="S", target_label="T", shots=SHOTS)
    assert wording.text(EXAMPLE) == "Like:\nS: moja\nT: one\nS: mbili\nT: two\nNow: Habari {source}"
    chat = Wording(CHAT, instruction="{examples}\n?{source}", source_label="S", target_label="T", shots=SHOTS)
    (turn,) = chat.messages(EXAMPLE)
    assert turn["content"] == "S: moja\nT: one\n\nS: mbili\nT: two\n?Habari {source}"


def test_examples_of_a_chat_are_earlier_turns() -> None:
    turns = Wording(CHAT, instruction="{source}", shots=SHOTS).messages(EXAMPLE)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert [turn["content"] for turn in turns] == ["moja", "one", "mbili", "two", "Habari {source}"]


def test_shots_leave_training_and_follow_from_the_seed() -> None:
    shots, others = take_shots(TRAIN, 3, 5)
    assert len(shots) == 3 and [e for e in TRAIN if e not in shots] == list(others)
    assert take_shots(TRAIN, 3, 5) == (shots, others) != take_shots(TRAIN, 3, 6)
    assert take_shots(TRAIN, 0, 5) == ((), TRAIN)
    with pytest.raises(
        InputError, match=r"prompt\.shots = 20, and the training part has 20 pairs; write fewer"
    ):
        take_shots(TRAIN, 20, 5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"template": "Translate."}, r"prompt\.template = 'Translate\.': must hold \{source\}.*\"chat\""),
        ({"template": "{source} {text}"}, r"prompt\.template holds \{text\}; known fields are \{source\}, "),
        ({"template": CHAT, "instruction": "Translate."}, r"prompt\.instruction = .*must hold \{source\}"),
        ({"system": "Be brief."}, r'prompt\.system is of a chat.*write prompt\.template="chat"'),
        ({"instruction": "{source}"}, r"prompt\.instruction is of a chat"),
        ({"template": "{examples}{source}"}, r"prompt\.shots = 0; write prompt\.shots=3"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check(PromptConfig(**settings))


TASKS = {
    "mt": "Swahili: x\nGuarani:",
    "headline": "Swahili: x\nHeadline in Guarani:",
    "summary": "Swahili: x\nSummary in Guarani:",
    "answer": "Question in Swahili: x\nAnswer in Guarani:",
    "free": "x",
}


@pytest.mark.parametrize(("task", "text"), TASKS.items())
def test_english_words_name_both_languages_by_task(task: str, text: str) -> None:
    example = replace(EXAMPLE, source="x", task=task, target_language="gn")
    assert Wording(ENGLISH).text(example) == text
    labels = {"source_label": "Swahili", "target_label": "Guarani"}
    assert Wording(ENGLISH, **labels).text(replace(example, source_language="qaa")) == text
    assert Wording(ENGLISH).nameless(example) == []


OF_OWN = {
    ("sw", "en"): (ENGLISH, ENGLISH),
    ("es", "quy_Latn"): (ENGLISH, ENGLISH),
    ("bo", "en"): (ENGLISH, ENGLISH),
    ("sw", "zh"): (ENGLISH, ENGLISH),
    ("zh-TW", "yue"): (ENGLISH, ENGLISH),
    ("bo", "zh"): (PLAIN, ENGLISH),
    ("en", "zho_Hans"): (PLAIN, ENGLISH),
    ("zh", "lzh"): (PLAIN, PLAIN),
    ("uig_Arab", "zh"): (PLAIN, ENGLISH),
}


@pytest.mark.parametrize(("languages", "templates"), OF_OWN.items())
def test_only_who_writes_chinese_is_asked_in_chinese_words(
    languages: tuple[str, str], templates: tuple[str, str]
) -> None:
    own = DataConfig("a.tsv", source_language=languages[0], target_language=languages[1])
    assert (default_template(own), default_template(replace(own, reverse=True))) == templates


@pytest.mark.parametrize(
    "corpus", ["tibetan", "uyghur", "guarani", "headlines", "headlines_en", "headlines_zh"]
)
def test_built_in_jobs_are_asked_as_they_were(corpus: str) -> None:
    assert default_template(DataConfig(corpus)) == PLAIN
    assert default_template(DataConfig(corpus, source_language="sw", target_language="en")) == PLAIN


def test_several_corpora_have_one_wording() -> None:
    swahili = CorpusConfig("a.tsv", source_language="sw", target_language="en")
    tibetan = CorpusConfig("b.tsv", source_language="bo", target_language="zh")
    built_in = CorpusConfig("tibetan")
    assert default_template(DataConfig(corpora={"a": built_in, "b": tibetan})) == PLAIN
    assert default_template(DataConfig(corpora={"a": built_in, "b": swahili})) == ENGLISH


def test_what_nobody_sees_is_shown() -> None:
    assert visible("a\u00a0b\r\n\u200fc\n") == "a\\xa0b\\r\\n\n\\u200fc\\n"
