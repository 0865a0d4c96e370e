"""Every reader of packages on damaged files of its format: valid examples after cleaning, or one sentence
with the file; no hang.
"""

import json
import pickle
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import strategies as st
from invented_bytes import damaged_files, for_all, outcome, times
from invented_files import write
from invented_packages import KA, KHA, declaration, mo_bytes, qm_bytes

from data.clean import Limits, clean
from data.errors import InputError
from data.examples import Example
from data.markup import elements, unescape, without_tags
from data.obtain import Archive
from data.sources import (
    catalogue,
    cldr,
    english,
    help_sections,
    libreoffice_help,
    mediawiki,
    package_file,
    plain_pickle,
    qt,
    udhr,
)
from data.sources.origin import Folders, Origin, Pair
from data.sources.package_file import FormatError

ANY_LENGTH = Limits(1, 10**6, 1, 10**6)
PO = (
    f'msgid ""\nmsgstr "Language: bo\\n"\n\n#: a.py:1\nmsgctxt "menu"\nmsgid "Save "\n"as"\nmsgstr "{KA}\\"\\t"\n\n'
    f'#, fuzzy\nmsgid "Open"\nmsgstr "{KHA}"\n\nmsgid "one"\nmsgid_plural "many"\nmsgstr[0] "{KHA} 甲乙"\nmsgstr[1] "y"\n'
)
PAGE = (
    f'<h1 id="t1">{KA}</h1>\n<p class="x" id="p1"><span>{KHA}</span> &amp;\n {KA}</p><div class="howtoget"><div>{KA}</div></div>'
    f'<h2 id="t2">{KHA} 甲乙</h2><p id="p2">{KA} 甲乙 &#3904;</p><p class="related">{KA}</p>'
)
MESSAGES = json.dumps(
    {"@metadata": {"authors": []}, "a": f"'''{KA} 甲乙'''<br/>", "b": f"{KHA} &lt; 乙甲"}, ensure_ascii=False
)
TABLE = {
    "languages": {"de": KA, "fr": f"{KHA} 甲乙"},
    "months": {"format": {"wide": {1: KHA, 2: (1, "x")}}},
    "list": [1.5, None, True],
}
DECLARATION = declaration([KA, KHA], [[KHA], [KA, f"{KHA} 甲乙"]])
MO = mo_bytes({"": "h", "ctx\x04Save": KA, "one\0many": f"{KHA} 甲乙\0{KA}"})
QM = qm_bytes({7: ("", f"&{KA}"), 9: ("x", KHA), 11: ("", "甲乙")})
HELP_FOLDERS = libreoffice_help.HELP

Reader = Callable[[Folders], Iterator[Pair]]
# reader, paths of its two sides, whole files
FORMATS: dict[str, tuple[Reader, tuple[str, str], tuple[bytes, ...]]] = {
    "mo": (catalogue.read_locales, ("usr/share/locale/bo/a.mo", "usr/share/locale/zh_CN/a.mo"), (MO,)),
    "po": (
        partial(catalogue.read_locales, target="zh_Hans"),
        ("x/locale/bo/a.po", "x/locale/zh_Hans/a.po"),
        (PO.encode(),),
    ),
    "mo, iso": (
        partial(catalogue.read_locales, language="dz"),
        ("x/locale/dz/a.mo", "x/locale/zh_CN/a.mo"),
        (MO,),
    ),
    "po, english": (english.read_messages, ("locale/dz/a.po", "locale/bo/a.po"), (PO.encode(),)),
    "mo, english": (
        english.read_chinese_messages,
        ("a/b/locale/dz/LC/a.mo", "a/b/locale/zh_CN/LC/a.mo"),
        (MO,),
    ),
    "qm": (qt.read, ("a_bo.qm", "a_zh_CN.qm"), (QM,)),
    "json": (
        mediawiki.read,
        ("i18n/bo.json", "i18n/zh-hans.json"),
        (MESSAGES.encode(), json.dumps(json.loads(MESSAGES)).encode()),
    ),
    "dat": (
        cldr.read,
        ("babel/locale-data/bo.dat", "babel/locale-data/zh.dat"),
        tuple(pickle.dumps(TABLE, protocol=number) for number in (2, 4, 5)),
    ),
    "udhr": (
        udhr.read,
        ("package/declaration/bod.html", "package/declaration/cmn_hans.html"),
        (DECLARATION.encode(),),
    ),
    "help": (
        libreoffice_help.read,
        (f"{HELP_FOLDERS}/dz/text/a.html", f"{HELP_FOLDERS}/zh-CN/text/a.html"),
        (PAGE.encode(),),
    ),
}
BESIDE = {
    "dat": ("babel/locale-data/dz.dat", pickle.dumps({}, protocol=2)),
    "udhr": ("package/declaration/dzo.html", b""),
}


def clean_pairs(origin: Origin, folders: Mapping[str, Path]) -> list[Example]:
    """The cleaned pairs, whatever the script of the second side."""
    return clean(
        (replace(example, target_language="xx") for example in origin.examples(folders)), ANY_LENGTH
    ).pairs


@times(350)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_package_gives_valid_examples_or_one_sentence(tmp_path: Path, name: str, count: int) -> None:
    read, places, wholes = FORMATS[name]
    origin = Origin("o", "l", (), (), read)
    names = ("libreoffice-help-dz", "libreoffice-help-zh-cn") if name == "help" else ("x",)
    sides = [write(tmp_path / place, wholes[0]) for place in places]
    if name in BESIDE:
        write(tmp_path / BESIDE[name][0], BESIDE[name][1])
    folders = dict.fromkeys(names, tmp_path)
    assert list(origin.examples(folders))

    def holds(content: bytes, side: int) -> None:
        sides[1 - side].write_bytes(wholes[0])
        sides[side].write_bytes(content)
        outcome(lambda: clean_pairs(origin, folders), sides[side])

    for_all(count, holds, damaged_files(*wholes), st.integers(0, 1))


@times(300)
def test_damaged_help_page_gives_valid_headlines_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    page = tmp_path / HELP_FOLDERS / "dz/text/a.html"
    monkeypatch.setattr(help_sections, "unpack", lambda archive, folder, members: tmp_path)

    def holds(content: bytes) -> None:
        write(page, content)
        outcome(lambda: clean(help_sections.examples(Archive(page, ""), tmp_path), ANY_LENGTH).pairs, page)

    for_all(count, holds, damaged_files(PAGE.encode()))


@times(300)
def test_any_pickle_opcodes_are_plain_tables_or_refused(count: int) -> None:
    """Whole opcodes in any order reach deeper than damaged bytes do."""
    codes = [
        *b"} ] ) ( N s u t \x85 \x86 a e b R \x81 \x93 0 2 \x94 .".split(), b"K\x01", b"X\x01\x00\x00\x00a", b"\x8c\x01b", b"q\x00",
        b"h\x00", b"cbabel.plural\nPluralRule\n", b"cos\nsystem\n", b"I1\n",
    ]  # fmt: skip

    def holds(parts: list[bytes]) -> None:
        try:
            value = plain_pickle.load(b"\x80\x02" + b"".join(parts) + b".", cldr.CLASSES)
        except FormatError:
            return
        assert value is plain_pickle.OPAQUE or isinstance(value, dict | str | int | None)

    for_all(count, holds, st.lists(st.sampled_from(codes), max_size=25))


def test_a_table_that_holds_itself_or_one_other_a_billion_times_is_refused() -> None:
    """These ended in a RecursionError, and in hours: a reader that follows every path through shared tables
    has no end.
    """
    itself = b"\x80\x02}(X\x09\x00\x00\x00languages}q\x00X\x01\x00\x00\x00ah\x00su."
    level = "x"
    for _ in range(14):
        level = dict.fromkeys("abcdefgh", level)  # type: ignore[assignment]
    for content in (itself, pickle.dumps({"languages": level})):
        with pytest.raises(FormatError, match="is a locale table without end"):
            cldr.names_in(content)


def test_a_pickle_cannot_ask_for_memory_or_for_endless_hashing() -> None:
    """Unpickled, the first of these took 34 GB for one number and the second hashed 2**60 tuples."""
    assert plain_pickle.load(b"\x80\x02}r\xff\xff\xff\x7f.", ()) == {}
    content = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."
    assert plain_pickle.load(content, ()) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a .mo file"),
        (b"\x00" * 100, "is not a .mo file"),
        (MO[:40], "is cut off in a table"),
        (MO[:-9], "has a text that is cut off"),
        (struct.pack("<7I", 0x950412DE, 0, 0xFFFFFFFF, 28, 28, 0, 0), "is cut off in a table"),
        (
            struct.pack("<7I", 0x950412DE, 0, 50, 28, 28, 0, 0) + struct.pack("<2I", 300, 0) * 50,
            "has texts that lie in one another",
        ),
    ],
)
def test_damaged_compiled_catalogue_is_refused_by_reason(content: bytes, reason: str) -> None:
    """A cut file gave shortened texts, one of another kind struct.error, and one of 8 MB could ask for
    terabytes of text.
    """
    with pytest.raises(FormatError, match=reason):
        catalogue.parse_mo(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (QM[:-1], "is cut off"),
        (qt.MAGIC + struct.pack(">BI", 0x42, 7) + b"\0" * 7, "has a table of hashes that is cut off"),
        (
            qt.MAGIC
            + struct.pack(">BI", 0x42, 8)
            + b"\0" * 8
            + struct.pack(">BI", 0x69, 6)
            + b"\3\0\0\0\x09a",
            "message that is cut off",
        ),
        (
            qt.MAGIC
            + struct.pack(">BI", 0x42, 8000)
            + b"\0" * 8000
            + struct.pack(">BI", 0x69, 4005)
            + b"\3\0\0\x0f\xa0"
            + b"\0a" * 2000,
            "has messages that lie in one another",
        ),
    ],
)
def test_damaged_qt_messages_are_refused_by_reason(content: bytes, reason: str) -> None:
    """A cut file gave shortened texts or struct.error, and one of 8 MB could ask for terabytes of text."""
    with pytest.raises(FormatError, match=reason):
        qt.messages(content)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'"x"', b"[" * 10**6, b'{"a": ' * 10**5, b'{"a": ' + b"9" * 5000 + b"}", b"\xff"]
)
def test_interface_messages_that_are_no_object_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    """AttributeError, RecursionError, UnicodeDecodeError and JSONDecodeError came out of this reader."""
    path = write(tmp_path / "bo.json", content)
    with pytest.raises(
        InputError, match=r"bo\.json is not (JSON|a JSON object|UTF-8 at byte 0); delete its package's folder"
    ):
        mediawiki.messages(path)


def test_half_a_surrogate_pair_of_a_package_never_reaches_a_file(tmp_path: Path) -> None:
    """The text and the key were kept, and writing the corpus ended in UnicodeEncodeError."""
    for name in ("bo", "zh-hans"):
        text = json.dumps({"\ud800": KA + "\ud800", "a\udfff": f"{KHA} 甲乙丙"})
        write(tmp_path / f"i18n/{name}.json", text.encode())
    tally = clean(Origin("o", "l", (), (), mediawiki.read).examples({"x": tmp_path}), ANY_LENGTH)
    assert [example.id for example in tally.pairs] == ["o:bo:i18n#a\\udfff"]
    assert tally.drops == [("o:bo:i18n#\\ud800", "damaged characters")]


def test_plain_catalogue_takes_any_escape_and_line_separators_inside_a_text() -> None:
    r"""`\x`, `\u12`, `\N{...}` and NUL were SyntaxErrors of Python's literals; U+2028 cut a line, whose rest
    could go as a comment.
    """
    content = 'msgid "a"\nmsgstr "\\x \\u12 \\N{no} \\_ \0 b\u2028#c\\101\\x42"\n'
    assert catalogue.parse_po(content) == {"a": "\\x \\u12 \\N{no} \\_ \0 b\u2028#cAB"}


@pytest.mark.parametrize("name", ["gone.mo", "folder.mo", "large.mo"])
def test_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(package_file, "MAX_FILE_BYTES", 100)
    (tmp_path / "folder.mo").mkdir()
    write(tmp_path / "large.mo", bytes(101))
    with pytest.raises(InputError, match=rf"{name} (cannot be read|is larger than)"):
        catalogue.catalogue(tmp_path / name)


def test_a_page_of_unclosed_tags_is_read_at_once() -> None:
    """`<(p)[^>]*>(.*?)</\\1>` and `<[^>]+>` looked for each end in the whole page: many minutes for a page of this
    size.
    """
    count = 200_000
    for page in (
        "<p>" * count,
        "<p" * count,
        "<p " * count + ">",
        "<" * count,
        "<div" * count,
        '<p id="' * count,
    ):
        assert list(elements(page, "p|h[1-6]")) == []
        assert isinstance(without_tags(page), str)
        assert help_sections.without_asides(page) == page
        assert list(help_sections.sections(page)) == []
    assert list(elements("<p>" * count + "</p>", "p")) == [("p", "", "<p>" * (count - 1))]


@times(300)
def test_elements_are_those_of_the_plain_pattern(count: int) -> None:
    pattern = re.compile(r"<(p|h[1-6])\b([^>]*)>(.*?)</\1>", re.DOTALL)
    pieces = [
        "<p", "<p>", "</p>", "<h1 id='a'>", "</h1>", "<h1", ">", "<", "a", "<pre>", "\n", "</p", "<b>", "</h2>",
    ]  # fmt: skip

    def holds(parts: list[str]) -> None:
        page = "".join(parts)
        assert list(elements(page, "p|h[1-6]")) == [
            (result[1], result[2], result[3]) for result in pattern.finditer(page)
        ]
        assert without_tags(page) == re.sub(r"<[^>]+>", "", page)

    for_all(count, holds, st.lists(st.sampled_from(pieces), max_size=12))


def test_an_entity_of_thousands_of_digits_is_a_damaged_character() -> None:
    """`html.unescape` raised ValueError: Python turns no more than 4300 digits into a number."""
    assert unescape("&#" + "9" * 5000 + ";a&#x" + "f" * 5000 + ";") == "\ufffda\ufffd"
