"""The user's own corpus under any bytes: each line is valid examples or told by place and reason, or one
sentence refuses the file.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import re
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import strategies as st
from invented_bytes import (
    EDITS,
    apply_edits,
    assert_one_sentence,
    assert_valid,
    damaged_files,
    for_all,
    outcome,
    texts,
    times,
)
from invented_corpus import line
from ngram_sets import ngrams, similar_pairs
from pyarrow import parquet

from data import inputs
from data.clean import Limits, clean_text, problem
from data.clusters import Clusters, near_duplicate_labels
from data.config import DataConfig
from data.errors import InputError
from data.examples import Example, line_of
from data.interface_text import without_accelerators
from data.prepare import prepare
from data.records import Records
from data.sources import packed_file, user_file
from data.sources.user_file import UserCorpus, read

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"
MORE = "\u0f44\u0f0b\u0f45\u0f0b\u0f46"
ROWS = [(BO, "甲乙"), (MORE, "丙丁戊"), (f"{BO}\u0f0b{MORE}", "己庚 100%"), (MORE, "辛壬")]
JSONL = "".join(
    json.dumps({"source": bo, "reference": [zh, zh * 2], "n": 1.5}, ensure_ascii=False) + "\n"
    for bo, zh in ROWS
).encode()
JSONL_ESCAPED = "".join(
    json.dumps({"id": [{"x": None}], "source": bo, "reference": zh}) + "\r\n" for bo, zh in ROWS
).encode()
TSV = "".join(f"{bo}\t{zh}\tmore\n" for bo, zh in ROWS).encode()
TSV_HEADER = b"\xef\xbb\xbfreference\tsource\r\n" + "".join(f"{zh}\t{bo}\r\n" for bo, zh in ROWS).encode()
ENCODED = [TSV.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")] + [
    "甲乙\tabc\n".encode("gb18030")
]


CSV = ("source,reference\n" + "".join(f'"{bo}","{zh}\n"";"""\r\n' for bo, zh in ROWS)).encode()
TMX = (
    '<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "t.dtd"><tmx><header/><body>\n'
    + "".join(
        f'<tu><tuv xml:lang="bo"><seg>{bo}</seg></tuv><tuv xml:lang="zh"><seg><hi>{zh}</hi>&lt;</seg></tuv></tu>\n'
        for bo, zh in ROWS
    )
    + "</body></tmx>"
).encode()
XLIFF = (
    '<xliff version="2.0" srcLang="bo" trgLang="zh"><file id="f">\n'
    + "".join(
        f"<unit><segment><source>{bo}</source><target>{zh}</target></segment></unit>\n" for bo, zh in ROWS
    )
    + "</file></xliff>"
).encode()
XML = (TMX, XLIFF, TMX.decode().encode("utf-16"))
LAUGHS = TMX.replace(b'SYSTEM "t.dtd"', b'[<!ENTITY a "ha"><!ENTITY b "&a;&a;">]').replace(b"&lt;", b"&b;")
PACK = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstandard.compress}


def parquet_file() -> bytes:
    """The rows as Parquet."""
    file = io.BytesIO()
    rows = [{"translation": {"bo": bo, "zh": zh}} for bo, zh in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression="none")
    return file.getvalue()


def corpus(location: object, columns: tuple[str, str] = user_file.DEFAULT_COLUMNS) -> UserCorpus:
    return UserCorpus(str(location), "bo", "zh", columns)


def check(location: UserCorpus, least: int, *paths: Path) -> None:
    """At least `least` lines are accounted for, each as valid examples or with a place and a reason of one line."""
    result: list[tuple[str, str]] = []

    def examples() -> list[Example]:
        reading = read(location)
        result.extend(reading.bad_lines)
        assert len(reading.examples) + len(reading.bad_lines) >= least
        return reading.examples

    outcome(examples, *paths)
    for place, reason in result:
        assert re.fullmatch(rf"({'|'.join(re.escape(str(path)) for path in paths)}):\d+(#\d+)?", place)
        assert reason and reason.isprintable()


def lines_of(content: bytes) -> int:
    """How many lines have text."""
    return sum(bool(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


@times(700)
@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv"])
def test_any_bytes_are_valid_examples_or_told_line_by_line(tmp_path: Path, name: str, count: int) -> None:
    path = tmp_path / name

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        check(corpus(path), lines_of(content) - 1, path)

    for_all(
        count,
        holds,
        damaged_files(JSONL, JSONL_ESCAPED)
        if name == "a.jsonl"
        else damaged_files(*[TSV, TSV_HEADER] * 5, *ENCODED),
    )


@times(300)
@pytest.mark.parametrize(
    ("name", "originals"),
    [("a.csv", (CSV,)), ("a.tmx", (*XML, LAUGHS)), ("a.xlf", XML), ("a.parquet", (parquet_file(),))],
)
def test_any_bytes_of_other_formats(
    tmp_path: Path, name: str, originals: tuple[bytes, ...], count: int
) -> None:
    path = tmp_path / name

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        check(corpus(path), 0, path)

    for_all(count, holds, damaged_files(*originals))


@times(300)
@pytest.mark.parametrize("packing", PACK)
def test_any_bytes_behind_or_inside_a_packing(tmp_path: Path, packing: str, count: int) -> None:
    path = tmp_path / f"a.tsv.{packing}"

    def holds(content: bytes, edits: list[tuple[str, int, int]], is_whole: bool) -> None:
        archive = PACK[packing](content)
        path.write_bytes(archive if is_whole else apply_edits(archive, edits))
        check(corpus(path), 0, path)

    for_all(count, holds, damaged_files(TSV), EDITS, st.booleans())


@times(300)
def test_any_two_aligned_files(tmp_path: Path, count: int) -> None:
    source = tmp_path / "s.txt"
    reference = tmp_path / "r.txt"

    def holds(first: bytes, second: bytes) -> None:
        source.write_bytes(first)
        reference.write_bytes(second)
        check(corpus(f"{source},{reference}"), 0, source, reference)

    sides = ["".join(f"{row[side]}\n" for row in ROWS).encode() for side in (0, 1)]
    for_all(count, holds, damaged_files(sides[0]), damaged_files(sides[1]))


@times(300)
def test_any_location_and_any_names_of_columns(tmp_path: Path, count: int) -> None:
    (tmp_path / "a.tsv").write_bytes(TSV_HEADER)

    def holds(location: str, first: str, second: str) -> None:
        outcome(
            lambda: read(corpus(location, (first, second))).examples, "data.corpus", "a.tsv", location, "~"
        )

    names = st.one_of(texts(), st.sampled_from(["1", "2", "0", "9" * 5000, "٣", "source", "reference"]))
    places = st.one_of(
        texts(),
        st.sampled_from(
            [str(tmp_path / "a.tsv"), str(tmp_path), "", ",", "~nobody/x.tsv", "x" * 300, "/dev/null"]
        ),
    )
    for_all(count, holds, places, names, names)


@times(60)
def test_the_whole_stage_makes_a_corpus_or_one_sentence(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.tsv"
    number = iter(range(10**6))
    rows = [line(random.Random(item)) for item in range(60)]
    whole = "".join(f"{row['source']}\t{row['reference']}\n" for row in rows)

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        config = DataConfig(corpus=str(path), max_bad_share=0.5)
        outcome(lambda: prepare(config, tmp_path / f"cache{next(number)}", lambda _: None).train, path)

    for_all(count, holds, damaged_files(whole.encode()))


@times(400)
def test_cleaning_any_text_twice_changes_nothing_more(count: int) -> None:
    def holds(text: str) -> None:
        once = clean_text(text)
        assert clean_text(once) == once
        example = Example("1", once, "甲乙丙", "o", "l", "xx", "zh")
        if not problem(example, Limits(1, 10**6, 1, 10**6)):
            assert_valid(example)

    for_all(count, holds, texts())


@times(150)
def test_any_texts_can_be_clustered_and_equal_ones_come_together(count: int) -> None:
    def holds(sides: list[tuple[str, str]]) -> None:
        pairs = [
            Example(str(item), *map(clean_text, side), "o", "l", "bo", "zh")
            for item, side in enumerate(sides)
        ]
        clusters = Clusters.of(near_duplicate_labels(pairs, 0.7))
        assert sorted(item for cluster in clusters for item in cluster) == list(range(len(pairs)))
        home = {item: cluster for cluster in clusters for item in cluster}
        assert all(home[i] == home[j] for i in home for j in home if pairs[i].source == pairs[j].source)

    for_all(count, holds, st.lists(st.tuples(texts(), texts()), max_size=8))


@times(250)
def test_any_change_to_a_prepared_corpus_is_noticed(tmp_path: Path, count: int) -> None:
    good = tmp_path / "good.jsonl"
    path = tmp_path / "a.jsonl"
    rows = [Example(str(item), *row, "o", "l", "bo", "zh", others=("癸癸",)) for item, row in enumerate(ROWS)]
    good.write_bytes(b"".join(map(line_of, rows)))

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        try:
            examples = list(Records(path))
        except InputError as error:
            assert_one_sentence(error, path)
            return
        path.write_bytes(b"".join(map(line_of, examples)))
        assert list(Records(path)) == examples

    for_all(count, holds, damaged_files(good.read_bytes()))


def rejected_lines(path: Path, content: bytes | str) -> list[tuple[str, str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(place.removeprefix(f"{path}:"), reason) for place, reason in read(corpus(path)).bad_lines]


def test_a_key_that_comes_twice_is_told(tmp_path: Path) -> None:
    """The last one silently won."""
    twice = f'{{"source": "{BO}", "reference": "甲乙", "source": "{MORE}"}}'
    elsewhere = f'{{"source": "{BO}", "reference": "甲乙", "n": {{"a": 1, "a": 2}}}}'
    assert rejected_lines(tmp_path / "a.jsonl", f"{twice}\n{elsewhere}\n") == [
        ("1", "field 'source' comes twice")
    ]


def test_a_carriage_return_inside_a_line_of_cells_is_told(tmp_path: Path) -> None:
    """A file with old line ends was one pair: the first source with the first two references in one."""
    content = f"{BO}\t甲乙\r{MORE}\t丙丁\r\n{MORE}\t丙丁\r\r\n"
    assert rejected_lines(tmp_path / "a.tsv", content) == [("1", "a carriage return inside the line")]
    (tmp_path / "s.txt").write_bytes(f"{BO}\r{MORE}\n{BO}\n".encode())
    (tmp_path / "r.txt").write_bytes("甲乙\n丙丁\n".encode())
    result = read(corpus(f"{tmp_path}/s.txt,{tmp_path}/r.txt"))
    assert [reason for _, reason in result.bad_lines] == ["a carriage return inside the line"] and len(
        result.examples
    ) == 1


def test_damaged_characters_and_overlong_lines_are_told(tmp_path: Path) -> None:
    content = f"{BO}\t甲\ufffd乙\n{BO}\t{'甲' * 400_000}\n{BO}\t甲乙\n"
    assert rejected_lines(tmp_path / "a.tsv", content) == [
        ("1", "damaged characters"),
        ("2", "longer than 1,048,576 bytes"),
    ]


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf16_is_told_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tsv").write_bytes(f"\ufeff{BO}\t甲乙\n".encode(name))
    with pytest.raises(InputError, match=r"a\.tsv is UTF-16; save it as UTF-8"):
        read(corpus(tmp_path / "a.tsv"))


def test_zero_bytes_in_utf8_are_not_taken_for_utf16(tmp_path: Path) -> None:
    """60 of them, at even and odd places; in UTF-16 those of tab and line end stand at one of the two."""
    (tmp_path / "a.tsv").write_text(
        "".join(f"{BO * n}\t甲\0乙{'丙' * n}a\n" for n in range(1, 61)), encoding="utf-8"
    )
    assert len(read(corpus(tmp_path / "a.tsv")).examples) == 60
    (tmp_path / "a.tsv").write_bytes(
        "".join(f"{BO}\t一丁{'丙' * n}\n" for n in range(60)).encode("utf-16-le")
    )
    with pytest.raises(InputError, match=r"a\.tsv is UTF-16"):
        read(corpus(tmp_path / "a.tsv"))


def test_gzip_that_grows_beyond_the_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB of gzip became 10 GB of memory."""
    monkeypatch.setattr(packed_file, "MAX_BYTES", 1000)
    for name, content in (("a.tsv.gz", gzip.compress(bytes(10**6))), ("a.tsv", bytes(1001))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} has more than 1,000 bytes of text; give a part of it"):
            read(corpus(tmp_path / name))


def test_names_that_no_file_can_have_are_one_sentence(tmp_path: Path) -> None:
    """OSError (a name that is too long) and RuntimeError (`~` of nobody) came out; a name that is not UTF-8
    stopped the writing.
    """
    with pytest.raises(InputError, match=r"x\.tsv cannot be read \(File name too long\); give 'tibetan'"):
        read(corpus("x" * 300 + "x.tsv"))
    for name in ("~nobody-here/a.tsv", "~\0"):
        with pytest.raises(InputError, match="write the path without ~"):
            read(corpus(name))
    for name in ("a\udcff.tsv", "a\nb.tsv"):
        (tmp_path / name).write_bytes(TSV)
        with pytest.raises(InputError, match="has a character that cannot be shown; rename the file"):
            read(corpus(tmp_path / name))


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PermissionError came out: the file is hashed before it is read."""
    (tmp_path / "a.tsv").write_bytes(TSV)

    def raise_permission_error(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(inputs, "sha256_of", raise_permission_error)
    with pytest.raises(InputError, match=r"a\.tsv cannot be read \(Permission denied\)"):
        prepare(DataConfig(corpus=str(tmp_path / "a.tsv")), tmp_path, lambda _: None)


def test_cleaning_composes_what_an_invisible_character_kept_apart() -> None:
    """The result was no NFC, so that the same text with and without the character counted as two."""
    assert clean_text("e\u200b\u0301") == clean_text("e\u202e\u0301") == "\u00e9"


def test_towers_of_marks_and_long_runs_of_space_take_no_time() -> None:
    """NFC sorts n marks in n * n steps, and `\\s*\\(` looks ahead from each space: minutes for a line of a megabyte."""
    twice = clean_text("\u0344" * 40 + "x" * 1000)  # each of them becomes two marks
    assert clean_text(twice) == twice
    tower = clean_text("a" + "\u0316\u0301" * 300_000)
    assert len(tower) <= 31 and tower.startswith("\u00e1\u0316")
    assert without_accelerators(" " * 10**6 + "x (_F)") == " " * 10**6 + "x"
    assert clean_text("\u0f40\u0f71\u0f72" * 500) == "\u0f40\u0f71\u0f72" * 500


def test_a_text_that_comes_a_hundred_thousand_times_is_clustered_at_once() -> None:
    """Each pair of equal texts was compared: five billion of them."""
    pairs = [
        Example(str(item), f"{BO} {item % 7}", "甲乙丙", "o", "l", "bo", "zh") for item in range(100_000)
    ]
    assert list(Clusters.of(near_duplicate_labels(pairs, 0.7))) == [tuple(range(100_000))]


@pytest.mark.parametrize("threshold", [1e-300, 1e-9, 0.7000000000000001, 0.123456789123456789, 1.0])
def test_any_threshold_finds_the_pairs_of_its_first_six_digits(threshold: float) -> None:
    """1e-20 ended in OverflowError; on long texts 0.7000000000000001 left the 64 bits of the index and ended
    in ValueError.
    """
    draw = random.Random(0)
    base = "".join(chr(0xF40 + draw.randrange(40)) for _ in range(2500))
    sets = [*(ngrams(base + base[: item * 300][::-1], 4) for item in range(6)), ngrams(base, 4)]
    expected = {
        (j, i)
        for i in range(7)
        for j in range(i)
        if len(sets[i] & sets[j]) >= round(threshold, 6) * len(sets[i] | sets[j])
    }
    assert {(min(pair), max(pair)) for pair in similar_pairs(sets, threshold)} == expected
    assert len(expected) == {0.7000000000000001: 16, 1.0: 1}.get(threshold, 21)
