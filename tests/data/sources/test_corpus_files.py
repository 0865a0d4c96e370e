"""The user's files: what is read, which lines are bad and why, and what cannot be a corpus."""

import bz2
import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from invented_files import pairs_in, write

from data.errors import InputError
from data.sources.file_lines import file_lines
from data.sources.user_file import Reading, UserCorpus, read

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"


def corpus(path: Path | str, **settings: object) -> UserCorpus:
    return UserCorpus(str(path), "bo", "zh", **settings)  # type: ignore[arg-type]


def texts(location: UserCorpus) -> list[tuple[str, str]]:
    return pairs_in(read(location))


def test_jsonl_with_default_and_with_named_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"source": f" {BO} ", "reference": "甲乙", "more": 1}) + "\n"
    )
    assert texts(corpus(path)) == [(BO, "甲乙")]
    path = write(tmp_path / "b.jsonl", json.dumps({"bo": BO, "zh": "甲乙"}))
    assert texts(corpus(path, columns=("bo", "zh"))) == [(BO, "甲乙")]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (f"{BO}\t甲乙\tmore\n", ("source", "reference")),
        (f"source\treference\n{BO}\t甲乙\n", ("source", "reference")),
        (f"\ufeffzh\tid\tbo\r\n甲乙\t1\t{BO}\r\n", ("bo", "zh")),
        (f"1\t甲乙\t{BO}\n", ("3", "2")),
    ],
)
def test_tsv_by_position_by_header_and_by_number(
    tmp_path: Path, content: str, columns: tuple[str, str]
) -> None:
    assert texts(corpus(write(tmp_path / "a.tsv", content), columns=columns)) == [(BO, "甲乙")]
    assert texts(corpus(write(tmp_path / "a.tsv.gz", gzip.compress(content.encode())), columns=columns)) == [
        (BO, "甲乙")
    ]


@pytest.mark.parametrize(
    "header",
    [
        "Reference\tSource", " reference \t source ", "\ufeff\ufeffreference\tsource", "zh\tbo", "Chinese\tTibetan", "tgt\tSrc",
        "TARGET\tsource", "translation\tinput",
    ],
)  # fmt: skip
def test_names_of_columns_are_read_whatever_their_case_spaces_and_words(tmp_path: Path, header: str) -> None:
    """The columns are exchanged, and languages of one script would not show it."""
    content = f"{header}\nbuku baru\tnew book\n"
    latin = {"source_language": "en", "target_language": "id"}
    if header in ("zh\tbo", "Chinese\tTibetan"):
        latin, content = {}, f"{header}\n甲乙\t{BO}\n"
    for name in ("a.tsv", "a.csv"):
        reading = read(replace(corpus(write(tmp_path / name, content)), **latin))  # type: ignore[arg-type]
        assert pairs_in(reading) == [("new book", "buku baru") if latin else (BO, "甲乙")]
        assert reading.bad_lines == []


@pytest.mark.parametrize(
    ("mark", "divider"), [("sep=;", ";"), ('"sep=,"', ","), ("SEP=|", "|"), ("sep=\t", "\t")]
)
def test_the_first_line_of_a_csv_for_excel_says_the_divider(tmp_path: Path, mark: str, divider: str) -> None:
    path = write(tmp_path / "a.csv", f"\ufeff{mark}\r\nreference{divider}source\r\n甲乙{divider}{BO}\r\n")
    reading = read(corpus(path))
    assert pairs_in(reading) == [(BO, "甲乙")] and reading.bad_lines == []
    assert reading.examples[0].id == f"{path}:3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\\rtf1\\ansi\n", r"is RTF; open it in its program and save its text as UTF-8$"),
        (b"PK\x03\x04" + bytes(30), "is a ZIP file, as those of Excel.*save the table as .csv$"),
        (b"\xd0\xcf\x11\xe0" + bytes(3000), "is a file of old Excel or Word; "),
        (b"%PDF-1.7\n" + bytes(30), "is PDF; "),
        (b"PAR1" + bytes(30), "is Parquet; name it .parquet$"),
        (b"SQLite format 3\0" + bytes(30), "is a database of SQLite; "),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n", "is XML; name it .tmx or .xliff"),
        (b"<!DOCTYPE html>\n", "is a web page; "),
        (gzip.compress(b"a\tb\n", mtime=0), r"is packed by gzip; name it a\.[a-z]+\.gz$"),
        (bz2.compress(b"a\tb\n"), r"is packed by bzip2; name it a\.[a-z]+\.bz2$"),
        (lzma.compress(b"a\tb\n"), r"is packed by xz; name it a\.[a-z]+\.xz$"),
        (zstandard.compress(b"a\tb\n"), r"is packed by zstd; name it a\.[a-z]+\.zst$"),
    ],
    ids=["RTF", "ZIP", "Office", "PDF", "Parquet", "SQLite", "XML", "HTML", "gzip", "bzip2", "xz", "zstd"],
)
def test_a_file_of_another_kind_is_refused_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    for ending in ("tsv", "csv", "jsonl"):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            read(corpus(path))


def test_texts_that_begin_like_another_kind_are_texts(tmp_path: Path) -> None:
    for begin in ("{rtf", "PK", "BZh91", "%P", "<xml>"):
        path = write(tmp_path / "a.tsv", f"{begin}\t甲乙\n")
        assert texts(replace(corpus(path), source_language="en")) == [(begin, "甲乙")]


def test_aligned_files_pair_line_by_line(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", f"{BO}\n{BO}\u0f0b\u0f40\n")
    reference = write(tmp_path / "b.txt", "甲乙\n丙丁")
    assert texts(corpus(f"{source}, {reference}")) == [(BO, "甲乙"), (f"{BO}\u0f0b\u0f40", "丙丁")]


def test_list_of_references_makes_a_pair_each(tmp_path: Path) -> None:
    lines = [{"source": BO, "reference": ["甲乙", " 丙丁 "]}, {"source": BO, "reference": ["戊己"]}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    reading = read(corpus(path))
    examples = reading.examples
    bad_lines = reading.bad_lines
    expected = {f"{path}:1": "甲乙", f"{path}:1#2": "丙丁", f"{path}:2": "戊己"}
    assert {example.id: example.reference for example in examples} == expected and len(examples) == 3
    assert {example.source for example in examples} == {BO} and bad_lines == []


def test_bad_text_of_a_list_is_told_by_line_and_place_and_spares_the_others(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"source": BO, "reference": ["甲乙", " ", "abc def", "丙丁"]})
    )
    reading = read(corpus(path))
    examples = reading.examples
    bad_lines = reading.bad_lines
    assert [example.reference for example in examples] == ["甲乙", "丙丁"]
    assert [example.id for example in examples] == [f"{path}:1", f"{path}:1#4"]
    assert bad_lines == [(f"{path}:1#3", "reference not in Han script")]


def test_null_and_empty_texts_of_a_list_are_passed_over_beside_another(tmp_path: Path) -> None:
    lists = [["甲乙", "", None], [None, "丙丁"], ["", None], [None]]
    path = write(
        tmp_path / "a.jsonl", "\n".join(json.dumps({"source": BO, "reference": texts}) for texts in lists)
    )
    reading = read(corpus(path))
    assert [(example.id, example.reference) for example in reading.examples] == [
        (f"{path}:1", "甲乙"),
        (f"{path}:2#2", "丙丁"),
    ]
    assert reading.bad_lines == [(f"{path}:3", "empty reference"), (f"{path}:4", "empty reference")]


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_lines_without_text_are_no_pairs_and_keep_their_numbers(tmp_path: Path, name: str) -> None:
    pairs = [(BO, "甲乙"), (BO, "丙丁")]
    records = [json.dumps({"source": source, "reference": reference}) for source, reference in pairs]
    lines = ["\t".join(pair) for pair in pairs] if name == "a.tsv" else records
    reading = read(corpus(write(tmp_path / name, f"{lines[0]}\n\n \t\r\n{lines[1]}\n\n")))
    assert [example.id for example in reading.examples] == [
        f"{tmp_path / name}:1",
        f"{tmp_path / name}:4",
    ] and reading.bad_lines == []


def test_the_first_line_with_text_is_the_header(tmp_path: Path) -> None:
    assert texts(corpus(write(tmp_path / "a.tsv", f"\n\nreference\tsource\n甲乙\t{BO}\n"))) == [(BO, "甲乙")]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ([], "field 'reference' is an empty list"),
        (7, "field 'reference' is neither text nor a list of texts"),
        (None, "field 'reference' is neither text nor a list of texts"),
        ({"zh": "甲乙"}, "field 'reference' is neither text nor a list of texts"),
        (["甲乙", 7], "field 'reference' is neither text nor a list of texts"),
        (["甲乙", ["丙丁"]], "field 'reference' is neither text nor a list of texts"),
        (["甲乙", "\ud800"], "field 'reference' has half a surrogate pair"),
    ],
)
def test_each_bad_reference_field_is_told_by_place_and_reason(
    tmp_path: Path, reference: object, reason: str
) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"source": BO, "reference": reference}))
    reading = read(corpus(path))
    assert (reading.examples, reading.bad_lines) == ([], [(f"{path}:1", reason)])


def test_a_list_as_source_is_not_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"source": [BO], "reference": "甲乙"}))
    reading = read(corpus(path))
    assert (reading.examples, reading.bad_lines) == ([], [(f"{path}:1", "field 'source' is not text")])


def test_ids_name_file_and_line_and_the_record_its_languages(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"source\treference\n{BO}\t甲乙\n")
    (example,) = read(corpus(path)).examples
    assert (example.id, example.origin, example.source_language, example.target_language) == (
        f"{path}:2",
        "user",
        "bo",
        "zh",
    )


def test_each_bad_line_of_jsonl_is_told_by_place_and_reason(tmp_path: Path) -> None:
    good = json.dumps({"source": BO, "reference": "甲乙"}).encode()
    lines = [
        (good, ""),
        (b'{"source": "\xff"}', "not UTF-8"),
        (b"{", "not JSON"),
        (b"", ""),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"reference": "x"}', "no field 'source'"),
        (b'{"source": 7, "reference": "x"}', "field 'source' is not text"),
        (b'{"source": "\\ud800", "reference": "x"}', "field 'source' has half a surrogate pair"),
        (json.dumps({"source": " \u200b", "reference": "甲乙"}).encode(), "empty source"),
        (json.dumps({"source": BO, "reference": "\n"}).encode(), "empty reference"),
        (json.dumps({"source": "abc def", "reference": "甲乙"}).encode(), "source not in Tibetan script"),
        (json.dumps({"source": BO, "reference": "a b c"}).encode(), "reference not in Han script"),
        (good, ""),
    ]
    path = write(tmp_path / "a.jsonl", b"\n".join(line for line, _ in lines) + b"\n")
    reading = read(corpus(path))
    examples = reading.examples
    bad_lines = reading.bad_lines
    assert [example.id for example in examples] == [f"{path}:1", f"{path}:14"]
    assert bad_lines == [
        (f"{path}:{number}", reason) for number, (_, reason) in enumerate(lines, start=1) if reason
    ]


def test_each_bad_line_of_tsv_and_of_aligned_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"{BO}\t甲乙\n{BO}\n".encode() + b"\xff\t\n" + f"{BO}\t \n".encode())
    reasons = ["too few columns: 1 where 2 are needed", "not UTF-8", "empty reference"]
    assert read(corpus(path)).bad_lines == [
        (f"{path}:{number}", reason) for number, reason in enumerate(reasons, start=2)
    ]
    source = write(tmp_path / "s.txt", f"{BO}\n\n{BO}\n")
    reference = write(tmp_path / "r.txt", "甲乙\n甲乙\n".encode() + b"\xff")
    assert read(corpus(f"{source},{reference}")).bad_lines == [
        (f"{source}:2", "empty source"),
        (f"{reference}:3", "not UTF-8"),
    ]


def test_a_language_without_a_known_script_is_not_checked_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "abc def\t甲乙\n")
    assert read(UserCorpus(str(path), "xx", "zh")).bad_lines == []
    assert read(UserCorpus(str(path), "xx", "bo")).bad_lines == [
        (f"{path}:1", "reference not in Tibetan script")
    ]


def test_aligned_files_of_different_length_name_both_counts(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", f"{BO}\n" * 3)
    reference = write(tmp_path / "b.txt", "甲乙\n" * 2)
    with pytest.raises(InputError, match=r"a\.txt has 3 lines and .*b\.txt has 2"):
        read(corpus(f"{source},{reference}"))


def test_of_aligned_files_the_one_that_is_not_utf_8_is_named_and_converted(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", f"{BO}\n" * 2)
    (tmp_path / "b.txt").write_bytes("甲乙丙丁\n戊己庚辛\n".encode("gb18030"))
    reading = read(corpus(f"{source},{tmp_path}/b.txt"))
    assert reading.bad_lines == [(f"{tmp_path}/b.txt:{line}", "not UTF-8") for line in (1, 2)]
    assert reading.command == f"iconv -f GB18030 -t UTF-8 {tmp_path}/b.txt > {tmp_path}/b.utf8.txt"


def test_one_text_file_and_a_set_get_their_own_advice(tmp_path: Path) -> None:
    one = write(tmp_path / "bod_Tibt.devtest", f"{BO}\n")
    with pytest.raises(
        InputError, match="a text file is one side, so give it with its other side as SOURCE,REF"
    ):
        read(corpus(one))
    with pytest.raises(InputError, match=r"data\.test: .*gone\.tsv is not a file; give a \.jsonl, "):
        read(replace(corpus(tmp_path / "gone.tsv"), setting="data.test"))
    two = write(tmp_path / "zho_Hans.devtest", "甲乙\n")
    assert read(corpus(f"{two},{one}")).sides == "the two files"
    table = write(tmp_path / "a.tsv", f"{BO}\t甲乙\n")
    assert read(corpus(table)).sides == "data.source_language and data.target_language"
    assert read(replace(corpus(table), setting="data.test")).sides == "the two columns of this file"


def test_missing_file_unknown_ending_and_three_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", "x")
    kinds = r"'tibetan', 'uyghur', 'guarani', 'headlines', 'headlines_en', 'headlines_zh', a \.jsonl, \.tsv"
    with pytest.raises(InputError, match=rf"gone\.tsv is not a file; give {kinds}"):
        read(corpus(tmp_path / "gone.tsv"))
    with pytest.raises(InputError, match="is not a file"):
        read(corpus(tmp_path))
    with pytest.raises(InputError, match=r"unknown kind of corpus; save it as \.csv$"):
        read(corpus(path))
    with pytest.raises(InputError, match=r"unknown kind of corpus; save it as \.jsonl, one object a line$"):
        read(corpus(write(tmp_path / "a.json", "[]")))
    with pytest.raises(InputError, match=r"unknown kind of corpus; open .*, one text file for each side$"):
        read(corpus(write(tmp_path / "a.docx", "x")))
    with pytest.raises(InputError, match="unknown kind of corpus"):
        read(corpus(f"{path},{path},{path}"))


def test_a_file_that_is_not_there_is_no_number_of_an_error(tmp_path: Path) -> None:
    for name, cause in (("gone.txt", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(InputError) as refusal:
            file_lines(tmp_path / name)
        assert str(refusal.value) == f"{tmp_path / name} cannot be read: {cause}; name a file"


def test_column_that_is_not_in_the_header_lists_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"bo\tzh\n{BO}\t甲乙\n")
    with pytest.raises(InputError, match=r"a\.tsv:1: no columns 'tib' and 'zh'.*\['bo', 'zh'\]"):
        read(corpus(path, columns=("tib", "zh")))


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"x" * 1000, mtime=0)[:-12], b"\x1f\x8b\x08\x00" + b"\xff" * 30]
)
def test_broken_gzip_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.tsv\.gz cannot be read"):
        read(corpus(write(tmp_path / "a.tsv.gz", content)))


def test_empty_file_is_an_empty_corpus(tmp_path: Path) -> None:
    assert read(corpus(write(tmp_path / "a.tsv", ""))) == Reading()
