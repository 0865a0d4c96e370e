"""Quotes of an export are taken off, quotes of a text stay, and what cannot be told is said."""

import csv
import io
from pathlib import Path

import pytest
from invented_files import pairs_in

from data.examples import Example
from data.sources.user_file import Reading, UserCorpus, read
from data.user_checks import quote_remarks

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"
MORE = "\u0f44\u0f0b\u0f45\u0f0b\u0f46"
ROWS = [(BO, "甲乙"), (MORE, '甲"丙"丁'), (f"{BO}\u0f0b{MORE}", "己庚\n辛壬"), (MORE, '"乙"\t丙')]
CLEANED = [(BO, "甲乙"), (MORE, '甲"丙"丁'), (f"{BO}\u0f0b{MORE}", "己庚 辛壬"), (MORE, '"乙" 丙')]


def reading_of(
    folder: Path, content: str | bytes, columns: tuple[str, str] = ("source", "reference")
) -> Reading:
    path = folder / "a.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(UserCorpus(str(path), "bo", "zh", columns))


def write_table(rows: list[tuple[str, ...]], quoting: int) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter="\t", quoting=quoting).writerows(rows)  # type: ignore[call-overload]
    return file.getvalue()


@pytest.mark.parametrize("header", [[("source", "reference")], []])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path: Path, quoting: int, header: list[tuple[str, ...]]
) -> None:
    reading = reading_of(tmp_path, write_table([*header, *ROWS], quoting))
    assert pairs_in(reading) == CLEANED
    assert reading.remarks == [
        f"{tmp_path}/a.tsv: an export with quotes; they are taken off the texts",
        f'{tmp_path}/a.tsv: 1 text with line ends, which become spaces; with prompt.lines="many" and no '
        "data.normalise of your own they stay",
    ]
    first = len(header) + 1
    assert [example.id for example in reading.examples] == [
        f"{tmp_path}/a.tsv:{first + line}" for line in (0, 1, 2, 4)
    ]


def test_columns_are_found_under_quoted_names_beside_numbers_without_quotes(tmp_path: Path) -> None:
    content = f'"id"\t"zh"\t"bo"\n1\t"甲乙"\t"{BO}"\n2\t"丙""丁"\t"{MORE}"\n3\t"戊己"\t"{BO}\u0f0b{BO}"\n'
    reading = reading_of(tmp_path, content, ("bo", "zh"))
    assert pairs_in(reading) == [(BO, "甲乙"), (MORE, '丙"丁'), (f"{BO}\u0f0b{BO}", "戊己")]


def test_a_quoted_header_alone_is_only_a_header(tmp_path: Path) -> None:
    assert pairs_in(reading_of(tmp_path, f'"source"\t"reference"\n{BO}\t"甲\n')) == [(BO, '"甲')]


def test_texts_wrapped_by_hand_lose_the_wrapping_only(tmp_path: Path) -> None:
    assert pairs_in(reading_of(tmp_path, f'"{BO}"\t"甲 "乙" 丙"\n"{MORE}"\t"丁"\n')) == [
        (BO, '甲 "乙" 丙'),
        (MORE, "丁"),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [(BO, '"甲" 乙'), (MORE, "丙丁")],  # a text that begins with a quote
        [(BO, '"甲乙"'), (MORE, "丙丁")],  # one that is all speech
        [(BO, '"甲乙'), (MORE, "丙丁"), (BO, '戊己"')],  # speech that goes on in later lines
        [(f'"{BO}', "甲乙"), (f'{MORE}"', "丙丁")],
        [(BO, "甲乙"), (MORE, '丙"丁')],
        [(BO, '"甲""乙"'), (MORE, '丙"丁')],  # no writer leaves the second one without quotes
    ],
)
def test_quotes_of_a_plain_table_stay(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    reading = reading_of(tmp_path, "".join(f"{source}\t{reference}\n" for source, reference in rows))
    assert pairs_in(reading) == rows and reading.remarks == []


def test_bad_rows_of_an_export_are_told_by_the_line_where_they_begin(tmp_path: Path) -> None:
    content = (
        f'"{BO}"\t"甲\n乙"\n"{MORE}"\n"{BO}"\t"'.encode() + b'\xff"\n' + f'"{MORE}"\t"丙\n丁"\n'.encode()
    )
    reading = reading_of(tmp_path, content)
    assert [example.reference for example in reading.examples] == ["甲 乙", "丙 丁"]
    assert reading.bad_lines == [
        (f"{tmp_path}/a.tsv:3", "too few columns: 1 where 2 are needed"),
        (f"{tmp_path}/a.tsv:4", "not UTF-8"),
    ]


def test_old_line_ends_between_quotes_are_told(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, f'"{BO}"\t"甲乙"\r"{MORE}"\t"丙丁"\n')
    assert reading.bad_lines == [(f"{tmp_path}/a.tsv:1", "a carriage return inside the line")]


def examples(references: list[str]) -> list[Example]:
    return [
        Example(f"a.tsv:{line}", BO, text, "user", "none", "bo", "zh")
        for line, text in enumerate(references, start=1)
    ]


def test_many_quoted_texts_or_doubled_quotes_that_stay_are_remarked_on() -> None:
    assert quote_remarks(examples(["甲乙"] * 95 + ['"丙"'] * 5))[0] == ""
    remark = quote_remarks(examples(["甲乙"] * 94 + ['"丙"'] * 6))[0]
    assert remark.startswith(
        f'6 of 100 pairs have a text in quotes, which stay part of it, e.g. a.tsv:95: {BO} | "丙"; '
    )
    assert quote_remarks(examples(["甲乙"] * 99 + ['"丙""丁"']))[0].startswith("1 of 100 pairs")
    assert quote_remarks(examples(['"甲" 乙'] * 50))[0] == ""


@pytest.mark.parametrize("quotes", ["\u201c\u201d", "\u2018\u2019", "''", "\u00ab\u00bb", "\u300c\u300d"])
def test_other_quotes_round_nearly_every_text_are_remarked_on(quotes: str) -> None:
    with_quotes = f"{quotes[0]}甲{quotes[1]}"
    remark = quote_remarks(examples(["乙"] * 9 + [with_quotes] * 91))[1]
    assert remark.startswith(
        "91 of 100 pairs have a text in curly, single or angle quotes, which stay part of it, "
    )
    assert f"e.g. a.tsv:10: {BO} | {with_quotes}; " in remark
    assert quote_remarks(examples(["乙"] * 10 + [with_quotes] * 90))[1] == ""
