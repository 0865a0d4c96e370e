"""Columns of JSONL: paths of keys, keys with dots, and the usual layouts that are read without a setting."""

import json
from pathlib import Path

import pytest
from invented_files import pairs_in

from data.config import DataConfig
from data.errors import InputError
from data.prepare import prepare
from data.sources.user_file import DEFAULT_COLUMNS, Reading, UserCorpus, read

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"


def reading_of(folder: Path, *records: object, columns: tuple[str, str] = DEFAULT_COLUMNS) -> Reading:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return read(UserCorpus(str(path), "bo", "zh", columns))


def test_dots_lead_into_objects(tmp_path: Path) -> None:
    record = {"id": 1, "translation": {"bo": BO, "zh": ["甲乙", "丙丁"]}}
    reading = reading_of(tmp_path, record, columns=("translation.bo", "translation.zh"))
    assert pairs_in(reading) == [(BO, "甲乙"), (BO, "丙丁")] and reading.remarks == []


def test_a_key_that_has_a_dot_itself_comes_first(tmp_path: Path) -> None:
    record = {"t.bo": BO, "t": {"bo": "no", "zh": "no"}, "t.zh": "甲乙"}
    assert pairs_in(reading_of(tmp_path, record, columns=("t.bo", "t.zh"))) == [(BO, "甲乙")]


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"translation": {"zh": "甲乙", "bo": BO}}, "'translation.bo' and 'translation.zh'"),
        ({"bo": BO, "zh": "甲乙"}, "'bo' and 'zh'"),
        ({"translation.bo": BO, "translation.zh": "甲乙"}, "'translation.bo' and 'translation.zh'"),
    ],
)
def test_languages_name_the_columns_where_the_default_ones_are_absent(
    tmp_path: Path, record: object, columns: str
) -> None:
    reading = reading_of(tmp_path, record)
    assert pairs_in(reading) == [(BO, "甲乙")]
    assert reading.remarks == [f"{tmp_path}/a.jsonl: no columns 'source' and 'reference'; {columns} are read"]


def test_the_default_columns_come_before_the_languages(tmp_path: Path) -> None:
    record = {"source": BO, "reference": "甲乙", "translation": {"bo": "no", "zh": "no"}}
    reading = reading_of(tmp_path, record)
    unread = "'source' and 'reference' are read; 'translation.bo' and 'translation.zh' are not"
    assert pairs_in(reading) == [(BO, "甲乙")] and reading.remarks == [f"{tmp_path}/a.jsonl: {unread}"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"Reference": "甲乙", "SOURCE": BO}, DEFAULT_COLUMNS),
        ({" reference\u200b": "甲乙", "\ufeffsource ": BO}, DEFAULT_COLUMNS),
        ({"reference": "甲乙", "Source": "no", "source": BO}, DEFAULT_COLUMNS),
        ({"reference": "甲乙", "Source": BO, "SOURCE": "no"}, DEFAULT_COLUMNS),
        ({"TGT": "甲乙", "Src": BO}, DEFAULT_COLUMNS),
        ({"ZH": "甲乙", "Bo": BO}, DEFAULT_COLUMNS),
        ({"Chinese": "甲乙", "tibetan": BO}, DEFAULT_COLUMNS),
        ({"Translation": {"ZH ": "甲乙", "BO": BO}}, ("translation.bo", "translation.zh")),
        ({"T.ZH": "甲乙", "T.Bo": BO}, ("t.bo", "t.zh")),
    ],
)
def test_case_and_spaces_of_keys_do_not_count_as_in_a_table(
    tmp_path: Path, kind: str, record: dict[str, object], columns: tuple[str, str]
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist([record]), path)
    reading = read(UserCorpus(str(path), "bo", "zh", columns))
    assert pairs_in(reading) == [(BO, "甲乙")] and not reading.bad_lines
    assert all(remark.endswith(" are read") for remark in reading.remarks)


def test_a_key_in_two_cases_is_two_keys_and_one_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"Source": "{BO}", "Source": "no", "reference": "甲乙"}}\n', encoding="utf-8")
    reading = read(UserCorpus(str(path), "bo", "zh"))
    assert reading.bad_lines == [(f"{path}:1", "field 'Source' comes twice")]


def test_languages_in_the_first_line_of_a_table_name_its_columns(tmp_path: Path) -> None:
    """The line was read as a pair, and the columns in the order of the file."""
    (tmp_path / "a.tsv").write_text(f"zh\tbo\n甲乙\t{BO}\n", encoding="utf-8")
    reading = read(UserCorpus(str(tmp_path / "a.tsv"), "bo", "zh"))
    assert pairs_in(reading) == [(BO, "甲乙")]
    assert reading.remarks == [
        f"{tmp_path}/a.tsv: no columns 'source' and 'reference'; 'bo' and 'zh' are read"
    ]


def test_each_bad_path_is_told_by_its_whole_name(tmp_path: Path) -> None:
    columns = ("t.bo", "t.zh")
    good = {"t": {"bo": BO, "zh": "甲乙"}}
    reading = reading_of(
        tmp_path, good, {"t": BO}, {"t": {"bo": BO}}, {"t": {"bo": {"x": BO}, "zh": "甲"}}, columns=columns
    )
    reasons = ["no field 't.bo'", "no field 't.zh'", "field 't.bo' is not text"]
    assert reading.bad_lines == [
        (f"{tmp_path}/a.jsonl:{line}", reason) for line, reason in enumerate(reasons, start=2)
    ]
    path = tmp_path / "twice.jsonl"
    path.write_text(f'{{"t": {{"bo": "{BO}", "zh": "甲", "zh": "乙"}}}}\n', encoding="utf-8")
    assert read(UserCorpus(str(path), "bo", "zh", columns)).bad_lines == [
        (f"{path}:1", "field 'zh' comes twice")
    ]


def test_the_last_sentence_shows_how_the_fields_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    record = {"id": 7, "pair": {"tib": BO, "chi": ["甲乙"]}, "note": "x"}
    path.write_text((json.dumps(record) + "\n") * 30, encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"the first object has pair\.tib, pair\.chi, note: name two of them by data\.source_column=",
    ):
        prepare(DataConfig(corpus=str(path)), tmp_path / "cache", lambda text: None)


def test_deep_objects_are_listed_down_to_a_limit(tmp_path: Path) -> None:
    deep: object = "x"
    for _ in range(200):
        deep = {"a": deep}
    assert reading_of(tmp_path, {"b": "y", "c": deep}).names == ["b"]
