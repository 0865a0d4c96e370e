"""Every format of a user's corpus gives the same pairs, and says its bad rows by file and line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from invented_files import pairs_in, write
from pyarrow import parquet

from data.errors import InputError
from data.sources.encoding import likely_encoding
from data.sources.user_file import Reading, UserCorpus, read
from data.user_checks import advice

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"
MORE = "\u0f44\u0f0b\u0f45\u0f0b\u0f46"
PAIRS = [(BO, "甲乙"), (MORE, '甲"丙"丁, 戊; 己'), (f"{BO}\u0f0b{MORE}", "己庚\n辛壬")]
CLEANED = [(BO, "甲乙"), (MORE, '甲"丙"丁, 戊; 己'), (f"{BO}\u0f0b{MORE}", "己庚 辛壬")]
PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}


def corpus(path: Path, columns: tuple[str, str] = ("source", "reference")) -> UserCorpus:
    return UserCorpus(str(path), "bo", "zh", columns)


def csv_text(rows: list[tuple[str, ...]], **form: object) -> str:
    file = io.StringIO()
    csv.writer(file, **form).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("divider", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
@pytest.mark.parametrize("names", [("source", "reference"), ("bo", "zh"), None])
def test_csv_with_quotes_and_line_ends_inside(
    tmp_path: Path, divider: str, quoting: int, names: tuple[str, str] | None
) -> None:
    header = [names] if names else []
    path = write(
        tmp_path / "a.csv", "\ufeff" + csv_text([*header, *PAIRS], delimiter=divider, quoting=quoting)
    )
    reading = read(corpus(path))
    assert pairs_in(reading) == CLEANED
    assert [example.id for example in reading.examples] == [f"{path}:{len(header) + n}" for n in (1, 2, 3)]


def test_bad_rows_of_csv_are_told_by_line_and_the_next_line_is_read(tmp_path: Path) -> None:
    content = (
        f'source,reference\n{BO},甲乙\n"{BO}"x,甲\n{BO}\n\n{BO},\n"{BO}","丙\n丁"\n'.encode()
        + b"\xff,a\n"
        + f'{MORE},"戊\n{MORE},己\n'.encode()
    )
    path = write(tmp_path / "a.csv", content)
    reading = read(corpus(path))
    assert [(place.removeprefix(f"{path}:"), why) for place, why in reading.bad_lines] == [
        ("3", "quotes are not those of CSV"),
        ("4", "1 column where 2 are needed"),
        ("6", "empty reference"),
        ("9", "not UTF-8"),
        ("10", "a quote that does not close"),
    ]
    assert [example.reference for example in reading.examples] == ["甲乙", "丙 丁", "己"]


def test_columns_of_csv_by_name_and_number_and_a_wrong_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"id;zh;bo\n1;甲, 乙;{BO}\n")
    assert pairs_in(read(corpus(path, ("bo", "zh")))) == [(BO, "甲, 乙")]
    with pytest.raises(InputError, match=r"a\.csv:1: no columns 'x' and 'zh'.*\['id', 'zh', 'bo'\]"):
        read(corpus(path, ("x", "zh")))
    assert read(corpus(write(tmp_path / "b.csv", ""))) == Reading()


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl", ".tmx"])
def test_packed_files_give_the_same_pairs_and_cut_ones_a_sentence(
    tmp_path: Path, packing: str, ending: str
) -> None:
    source, reference = CLEANED[0]
    content = {
        ".tsv": f"{source}\t{reference}\n",
        ".csv": f"{source},{reference}\n",
        ".jsonl": json.dumps({"translation": {"bo": source, "zh": reference}}),
        ".tmx": tmx(unit(source, reference)),
    }[ending]
    packed = PACK[packing](content.encode())
    path = write(tmp_path / f"a{ending}{packing}", packed)
    assert pairs_in(read(corpus(path))) == [(source, reference)]
    write(path, packed[:-5])
    with pytest.raises(InputError, match=rf"a\{ending}\{packing} cannot be read: "):
        read(corpus(path))
    if ending == ".tsv":
        write(path, packed * 2)
        assert pairs_in(read(corpus(path))) == [(source, reference)] * 2


@pytest.mark.parametrize(("module", "name"), [("zstandard", "a.tsv.zst"), ("pyarrow", "a.parquet")])
def test_a_missing_package_is_one_sentence_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{name} needs the package {module}: pip install {module}"):
        read(corpus(write(tmp_path / name, b"x")))


def unit(source: str, *references: str) -> str:
    sides = [("bo", source), *(("zh-CN", text) for text in references)]
    return (
        "<tu><note>n</note>"
        + "".join(f'<tuv xml:lang="{tag}"><seg>{text}</seg></tuv>' for tag, text in sides)
        + "</tu>\n"
    )


def tmx(*units: str, top: str = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">') -> str:
    return f'<?xml version="1.0"?>{top}\n<tmx version="1.4"><header srclang="bo"/><body>\n{"".join(units)}</body></tmx>'


def test_tmx_without_its_codes_with_several_references_and_other_languages(tmp_path: Path) -> None:
    english = (
        '<tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="BO-cn"><seg>' + BO + "</seg></tuv></tu>\n"
    )
    coded = f'<bpt i="1">&lt;b&gt;<sub>x</sub></bpt>{MORE}<ept i="1">&lt;/b&gt;</ept><ph/>'
    path = write(
        tmp_path / "a.tmx", tmx(unit(BO, "甲<hi>乙</hi>", "丙 &amp; 丁"), english, unit(coded, "戊己"))
    )
    reading = read(corpus(path))
    assert [(e.id, e.source, e.reference) for e in reading.examples] == [
        (f"{path}:3", BO, "甲乙"),
        (f"{path}:3#2", BO, "丙 & 丁"),
        (f"{path}:5", MORE, "戊己"),
    ]
    assert reading.bad_lines == [(f"{path}:4", "no text in 'zh'")] and reading.names == ["bo", "zh-CN"]
    other = read(UserCorpus(str(path), "sw", "zh"))
    assert advice(other, ("sw", "zh")).startswith(
        "the first unit has bo, zh-CN: name two of its languages by "
    )


XLIFF_1 = """<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2"><file source-language="zh-CN" target-language="bo">
<body><trans-unit id="1"><source>甲<g id="1">乙</g><x id="2"/></source><seg-source>丙</seg-source><target>{0}</target>
<alt-trans><source>丁</source><target>戊</target></alt-trans></trans-unit>
<trans-unit id="2"><source>己</source></trans-unit></body></file></xliff>"""
XLIFF_2 = """<xliff version="2.0" srcLang="bo" trgLang="zh" xmlns="urn:oasis:names:tc:xliff:document:2.0" xmlns:m="urn:m">
<file id="f"><unit id="u"><m:matches><m:match><source>a</source><target>b</target></m:match></m:matches>
<segment><source><pc id="1">{0}</pc></source><target>甲<ph id="2"/>乙</target></segment>
<ignorable><source> </source></ignorable><segment><source>{1}</source><target>丙</target></segment></unit></file></xliff>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xliff_of_both_versions(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.xlf", XLIFF_1.format(BO).encode(encoding))
    reading = read(corpus(path))
    assert [(e.id, e.source, e.reference) for e in reading.examples] == [(f"{path}:2", BO, "甲乙")]
    assert reading.bad_lines == [(f"{path}:4", "no text in 'bo'")]
    path = write(tmp_path / "b.xliff", XLIFF_2.format(BO, MORE).encode(encoding))
    assert pairs_in(read(corpus(path))) == [(BO, "甲乙"), (MORE, "丙")]


LAUGHS = '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tmx(unit("&b;", "甲"), top=LAUGHS), r"a\.tmx:1: the entity 'a' is declared or used; write its text"),
        (tmx(unit("&a;", "甲"), top=OUTSIDE), r"a\.tmx:1: the entity 'a' is declared"),
        (tmx(unit("&nbsp;", "甲")), r"a\.tmx:3: the entity 'nbsp'"),
        (tmx(unit(BO, "甲"))[:-9], r"a\.tmx:4 is not well-formed XML"),
        ("", r"a\.tmx:1 is not well-formed XML \(no element found\)"),
        ("<html/>", r"a\.tmx: its first element is 'html'; TMX begins with tmx"),
        ("<tmx>" + "<a>" * 10**5, r"a\.tmx:1: elements are too deep"),
        (
            '<?xml version="1.0" encoding="GB18030"?><tmx/>',
            r"a\.tmx:1 names an encoding that is not read; .*: iconv -f ENCODING -t UTF-8 \S+a\.tmx > \S+a\.utf8\.tmx",
        ),
    ],
)
def test_xml_that_is_no_memory_or_not_safe_is_one_sentence(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(corpus(write(tmp_path / "a.tmx", content)))


def table(key: Callable[[str, str], dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([key(source, reference) for source, reference in PAIRS])


def test_parquet_with_nested_and_with_plain_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(table(lambda bo, zh: {"id": 1, "translation": {"bo": bo, "zh": zh}}), path)
    reading = read(corpus(path))
    assert pairs_in(reading) == CLEANED and reading.examples[2].id == f"{path}:3"
    parquet.write_table(
        table(lambda bo, zh: {"source": bo, "reference": [zh, "癸癸"] if bo == BO else [None]}), path
    )
    reading = read(corpus(path))
    assert [e.reference for e in reading.examples] == ["甲乙", "癸癸"]
    assert reading.bad_lines == [(f"{path}:{number}", "empty reference") for number in (2, 3)]
    with pytest.raises(InputError, match=r"a\.parquet: no columns 'x' and 'y'.* which are source, reference"):
        read(corpus(path, ("x", "y")))
    for content in (b"", path.read_bytes()[:-20], b"PAR1"):
        with pytest.raises(InputError, match=r"b\.parquet cannot be read: "):
            read(corpus(write(tmp_path / "b.parquet", content)))


def test_a_column_of_parquet_whose_name_is_not_utf8_is_one_sentence(tmp_path: Path) -> None:
    """Past bug: a damaged file ended in a traceback."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"NAMEX": [BO], "reference": ["甲乙"]}), path, store_schema=False)
    write(path, path.read_bytes().replace(b"NAMEX", b"\xff\xff\xff\xff\xff"))
    with pytest.raises(InputError, match=r"a\.parquet cannot be read: 'utf-8' codec"):
        read(corpus(path))


def test_a_row_of_parquet_that_is_not_utf8_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pa.table({"source": [BO, MORE, BO], "reference": ["甲乙", "XYZ", "丙丁"]})
    parquet.write_table(rows, path, compression="none", use_dictionary=False, write_statistics=False)
    write(path, path.read_bytes().replace(b"XYZ", b"\xff\xff\xff"))
    reading = read(corpus(path))
    assert [e.reference for e in reading.examples] == ["甲乙", "丙丁"]
    assert reading.bad_lines == [(f"{path}:2", "a text that is not UTF-8")]


def save_dataset(folder: Path, names: list[str]) -> None:
    """Write the files of a dataset as the package datasets does."""
    folder.mkdir()
    rows = table(lambda bo, zh: {"bo": bo, "zh": zh})
    for name in names:
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
            stream.write_table(rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


def test_folders_of_datasets(tmp_path: Path) -> None:
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    save_dataset(tmp_path / "train", names)
    reading = read(corpus(tmp_path / "train"))
    assert pairs_in(reading) == CLEANED * 2 and reading.examples[-1].id == f"{tmp_path}/train/{names[1]}:3"
    write(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    with pytest.raises(
        InputError, match=r"has the parts train, test; give the folder of one, such as \S+/train"
    ):
        read(corpus(tmp_path))
    (tmp_path / "train" / names[1]).unlink()
    with pytest.raises(InputError, match=rf"{names[1]} cannot be read: "):
        read(corpus(tmp_path / "train"))
    write(tmp_path / "train" / "state.json", "{}")
    with pytest.raises(InputError, match=r"state\.json is not that of a dataset"):
        read(corpus(tmp_path / "train"))


def test_a_folder_of_parquet_is_read_in_order_and_only_of_one_part(tmp_path: Path) -> None:
    rows = table(lambda bo, zh: {"bo": bo, "zh": zh})
    for number in (1, 0):
        parquet.write_table(rows.slice(number, 1), tmp_path / f"train-0000{number}-of-00002.parquet")
    assert pairs_in(read(corpus(tmp_path))) == CLEANED[:2]
    parquet.write_table(rows, tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="has files of the parts test, train; give one file"):
        read(corpus(tmp_path))


@pytest.mark.parametrize(
    ("text", "languages", "codec", "name"),
    [
        ("今天天气很好，我们去公园散步。", "en zh", "gb18030", "GB18030"),
        ("今天天氣很好，我們去公園散步。", "en zh-TW", "big5", "BIG5"),
        ("오늘은 날씨가 좋습니다", "en ko", "euc_kr", "EUC-KR"),
        ("今日は天気がいいです", "en ja", "shift_jis", "SHIFT_JIS"),
        ("Сегодня хорошая погода", "en ru", "cp1251", "CP1251"),
        ("Il fait beau, ça va très bien, mon élève", "en fr", "cp1252", "CP1252"),
        ("Zażółć gęślą jaźń", "en pl", "cp1250", "CP1250"),
        ("Çok güneşli bir gün, ığdır", "en tr", "cp1254", "CP1254"),
        ("Ο καιρός είναι καλός", "en el", "cp1253", "CP1253"),
        ("الطقس جميل اليوم", "en ar", "cp1256", "CP1256"),
        ("อากาศดีวันนี้", "en th", "cp874", "CP874"),
        ("A fine day in our town\tЛеп дан у нашем граду", "en sr", "cp1251", "CP1251"),
        ("A fine day in our town\tŠta ćeš, čekaj još žute đake", "en sr", "cp1250", "CP1250"),
        ("Güneşli küçük şeer", "crh uk", "cp1254", "CP1254"),
        ("Гарний день\tЯхшы кунь", "uk crh", "cp1251", "CP1251"),
    ],
)
def test_the_likely_encoding_by_the_languages_of_the_corpus(
    text: str, languages: str, codec: str, name: str
) -> None:
    assert likely_encoding([text.encode(codec)], languages.split()) == name


def test_bytes_of_no_encoding_have_no_name(tmp_path: Path) -> None:
    assert likely_encoding([b"\xff\xff\xff"], ["bo", "zh"]) == ""
    reading = read(corpus(write(tmp_path / "a.tsv", b"\xff\xff\xff\n")))
    assert "iconv -f ENCODING -t UTF-8" in advice(reading, ("bo", "zh"))
    assert "gives letters of bo or zh, so check data.source_language and data.target_language" in advice(
        reading, ("bo", "zh")
    )


UNREAD = {  # a file's name, what a line has -> what is said of it
    "two": ("a.tsv", "ཀ་ཁ\t甲乙", ""),
    "three": ("a.tsv", "ཀ་ཁ\t甲乙\tx", "columns 1 and 2 are read; column 3 is not"),
    "four": ("a.csv", "ཀ་ཁ,甲乙,x,y", "columns 1 and 2 are read; column 3 and column 4 are not"),
    "an empty one": ("a.tsv", "ཀ་ཁ\t甲乙\t", ""),
    "header": ("a.tsv", "source\tnote\treference\nཀ་ཁ\tx\t甲乙", "'source' and 'reference' are read; 'note' is not"),
    "fields": (
        "a.jsonl", '{"id": "7", "n": 1, "source": "ཀ་ཁ", "reference": ["甲乙", "丙"], "a": "x", "b": {"c": "y", "d": "z"}, "e": "",'
        ' "f": "", "g": ""}',
        "'source' and 'reference' are read; 'a', 'b.c', 'b.d', 'e' and 2 more are not",
    ),
    "ids": ("a.jsonl", '{"id": "7", "score": 0.5, "source": "ཀ་ཁ", "reference": "甲乙"}', ""),
    "languages": (
        "a.tmx",
        '<tmx version="1.4"><body><tu><tuv xml:lang="bo"><seg>ཀ་ཁ</seg></tuv><tuv xml:lang="zh-CN"><seg>甲乙</seg></tuv>'
        '<tuv xml:lang="en"><seg>x</seg></tuv></tu></body></tmx>',
        "'bo' and 'zh' are read; 'en' is not",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREAD)
def test_what_is_not_read_is_said_once(tmp_path: Path, case: str) -> None:
    """By the first line, object or unit."""
    name, text, said = UNREAD[case]
    path = tmp_path / name
    path.write_text(text + "\n", encoding="utf-8")
    reading = read(UserCorpus(str(path), "bo", "zh"))
    assert len(reading.examples) == (2 if case == "fields" else 1)
    assert reading.remarks == ([f"{path}: {said}"] if said else [])


def test_columns_of_parquet_that_are_not_read_are_said(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    table = pyarrow.table({"source": ["ཀ་ཁ"], "reference": ["甲乙"], "domain": ["x"], "score": [0.5]})
    parquet.write_table(table, path)
    remarks = read(UserCorpus(str(path), "bo", "zh")).remarks
    assert remarks == [f"{path}: 'source' and 'reference' are read; 'domain' is not"]
