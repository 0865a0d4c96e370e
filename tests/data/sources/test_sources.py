"""Each reader on a made-up package of its format."""

import pickle
import struct
from pathlib import Path

import pytest
from invented_files import write
from invented_packages import KA, KHA, declaration, mo_bytes, qm_bytes

from data.errors import InputError
from data.sources import catalogue, cldr, libreoffice_help, mediawiki, qt, udhr
from data.sources.origin import Origin, Package, Pair
from data.sources.package_file import FormatError
from data.sources.tibetan import ORIGINS


def test_help_pages_join_on_page_and_paragraph_id(tmp_path: Path) -> None:
    dz = tmp_path / "dz"
    zh = tmp_path / "zh"
    write(
        dz / libreoffice_help.HELP / "dz/text/shared/one.html",
        f'<h1 id="t1">{KA}</h1>\n<p class="x" id="p1"><span>{KHA}</span> &amp;\n {KA}</p>'
        f'<p>no id</p><p id="p1">again</p><p id="only"> {KA}</p>',
    )
    write(
        zh / libreoffice_help.HELP / "zh-CN/text/shared/one.html",
        '<p id="p1">乙</p><h1 id="t1">甲</h1><p id="other">丙</p>',
    )
    write(zh / libreoffice_help.HELP / "zh-CN/text/shared/two.html", '<p id="p1">丁</p>')
    folders = {"libreoffice-help-dz": dz, "libreoffice-help-zh-cn": zh}
    assert list(libreoffice_help.read(folders)) == [
        Pair("text/shared/one.html#t1", "dz", KA, "甲"),
        Pair("text/shared/one.html#p1", "dz", f"{KHA} &\n {KA}", "乙"),
    ]
    assert list(libreoffice_help.read({"libreoffice-help-dz": dz})) == []


@pytest.mark.parametrize("order", ["<", ">"])
def test_compiled_catalogue_in_both_byte_orders(order: str) -> None:
    messages = {"": "header", "ctx\x04Save": KA, "one\0many": f"{KHA}\0{KA}"}
    assert catalogue.parse_mo(mo_bytes(messages, order)) == {"": "header", "ctx\x04Save": KA, "one": KHA}


def test_plain_catalogue_leaves_out_fuzzy_and_header_and_takes_the_first_plural() -> None:
    content = (
        'msgid ""\nmsgstr "Language: bo\\n"\n\n#: file.py:1\nmsgctxt "menu"\nmsgid ""\n"Save "\n"as"\nmsgstr "a\\"b\\n"\n\n'
        '#, fuzzy, c-format\nmsgid "Open"\nmsgstr "wrong"\n\nmsgid "one"\nmsgid_plural "many"\nmsgstr[0] "x"\nmsgstr[1] "y"\n\n'
        '#~ msgid "gone"\n#~ msgstr "gone"\n'
    )
    assert catalogue.parse_po(content) == {"": "Language: bo\n", "menu\x04Save as": 'a"b\n', "one": "x"}


def test_interface_catalogues_join_on_the_message_within_a_file(tmp_path: Path) -> None:
    dz = tmp_path / "dz"
    zh = tmp_path / "zh"
    resource = catalogue.LIBREOFFICE
    write(dz / resource / "dz/LC_MESSAGES/sc.mo", mo_bytes({"": "h", "File": f"~{KA}", "Only here": KHA}))
    write(dz / resource / "dz/LC_MESSAGES/sw.mo", mo_bytes({"Edit": KHA}))
    write(zh / resource / "zh_CN/LC_MESSAGES/sc.mo", mo_bytes({"": "h", "File": "文件(~F)", "Edit": "编辑"}))
    pairs = list(catalogue.read_libreoffice({"libreoffice-l10n-dz": dz, "libreoffice-l10n-zh-cn": zh}))
    assert [(pair.language, pair.source, pair.target) for pair in pairs] == [("dz", KA, "文件")]


def test_python_and_system_catalogues_are_found_where_they_lie(tmp_path: Path) -> None:
    write(tmp_path / "app/locale/bo/LC_MESSAGES/app.po", f'msgid "a"\nmsgstr "{KA}"\n')
    write(tmp_path / "app/locale/zh_Hans/LC_MESSAGES/app.po", 'msgid "a"\nmsgstr "甲"\n')
    write(tmp_path / "usr/share/locale/bo/LC_MESSAGES/n.mo", mo_bytes({"b": f"_{KHA}"}))
    write(tmp_path / "usr/share/locale/zh_CN/LC_MESSAGES/n.mo", mo_bytes({"b": "乙(_O)"}))
    write(tmp_path / "iso/locale/dz/LC_MESSAGES/iso.mo", mo_bytes({"c": KHA}))
    write(tmp_path / "iso/locale/zh_CN/LC_MESSAGES/iso.mo", mo_bytes({"c": "丙"}))
    folders = {"x": tmp_path}
    assert [(p.language, p.source, p.target) for p in catalogue.read_locales(folders, target="zh_Hans")] == [
        ("bo", KA, "甲")
    ]
    assert [(p.language, p.source, p.target) for p in catalogue.read_locales(folders)] == [("bo", KHA, "乙")]
    assert [(p.language, p.source, p.target) for p in catalogue.read_locales(folders, "dz")] == [
        ("dz", KHA, "丙")
    ]


def test_qt_messages_join_on_their_hash(tmp_path: Path) -> None:
    write(tmp_path / "t/movie_bo.qm", qm_bytes({7: ("", f"&{KA}"), 0xFFFF0001: ("Play", KHA), 9: ("x", "")}))
    write(tmp_path / "t/movie_zh_CN.qm", qm_bytes({7: ("Save", "甲"), 8: ("", "乙"), 0xFFFF0001: ("", "丙")}))
    write(tmp_path / "t/alone_bo.qm", qm_bytes({7: ("", KA)}))
    assert list(qt.read({"x": tmp_path})) == [
        Pair("movie#00000007", "bo", KA, "甲"),
        Pair("movie#ffff0001", "bo", KHA, "丙"),
    ]
    with pytest.raises(FormatError, match=r"is not a \.qm file"):
        qt.messages(b"something else")


def test_mediawiki_messages_join_by_name_in_both_languages(tmp_path: Path) -> None:
    write(
        tmp_path / "ext/i18n/bo.json",
        f'{{"@metadata": {{"authors": []}}, "a": "\'\'\'{KA}\'\'\'<br/>", "b": "{KHA}"}}',
    )
    write(tmp_path / "ext/i18n/dz.json", f'{{"a": "{KHA} &lt;"}}')
    write(tmp_path / "ext/i18n/zh-hans.json", '{"a": "甲", "c": "乙"}')
    assert list(mediawiki.read({"x": tmp_path})) == [
        Pair("bo:ext/i18n#a", "bo", KA, "甲"),
        Pair("dz:ext/i18n#a", "dz", f"{KHA} <", "甲"),
    ]


def test_locale_tables_give_names_by_path(tmp_path: Path) -> None:
    tables = tmp_path / "babel/locale-data"
    chinese = {
        "languages": {"de": "甲"},
        "months": {"format": {"wide": {1: "乙"}}},
        "currency_symbols": {"x": "丙"},
    }
    write(tables / "zh.dat", pickle.dumps(chinese))
    write(
        tables / "bo.dat",
        pickle.dumps({"languages": {"de": KA, "fr": KA}, "months": {"format": {"wide": {1: KHA}}}}),
    )
    write(tables / "dz.dat", pickle.dumps({"currency_symbols": {"x": KA}}))
    assert list(cldr.read({"babel": tmp_path})) == [
        Pair("bo#languages/de", "bo", KA, "甲"),
        Pair("bo#months/format/wide/1", "bo", KHA, "乙"),
    ]


def test_locale_table_with_another_class_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "made"
    table = write(tmp_path / "bo.dat", b"cpathlib\nPath\n(V" + str(target).encode() + b"\ntR.")
    with pytest.raises(InputError, match=r"bo\.dat asks for pathlib\.Path, which no plain table needs"):
        cldr.names(table)
    assert not target.exists()


def test_locale_table_with_babels_own_classes_is_read_without_babel(tmp_path: Path) -> None:
    """A protocol-2 pickle of {"languages": {"de": KA}, "plural": <PluralRule with a state>}."""
    plural = b"cbabel.plural\nPluralRule\n)\x81}X\x01\x00\x00\x00aK\x01sb"
    names = (
        b"X\x09\x00\x00\x00languages}X\x02\x00\x00\x00deX"
        + struct.pack("<I", len(KA.encode()))
        + KA.encode()
        + b"s"
    )
    table = write(tmp_path / "bo.dat", b"\x80\x02}(" + names + b"X\x06\x00\x00\x00plural" + plural + b"u.")
    assert cldr.names(table) == {"languages/de": KA}


def test_declaration_aligns_by_position_and_skips_sections_that_differ(tmp_path: Path) -> None:
    pages = tmp_path / "package/declaration"
    write(pages / "cmn_hans.html", declaration(["甲", "乙"], [["丙"], ["丁", "戊"]]))
    write(pages / "bod.html", declaration([KA], [[KHA], [KA, KHA]]))
    write(pages / "dzo.html", declaration([KA, KHA], [[], [KA, KHA]]))
    pairs = [(pair.key, pair.source, pair.target) for pair in udhr.read({"udhr": tmp_path})]
    assert [pair for pair in pairs if pair[0].startswith("bo")] == [
        ("bo#1.0", KHA, "丙"),
        ("bo#2.0", KA, "丁"),
        ("bo#2.1", KHA, "戊"),
    ]
    assert [key for key, *_ in pairs if key.startswith("dz")] == ["dz#0.0", "dz#0.1", "dz#2.0", "dz#2.1"]


def test_examples_carry_origin_licence_and_languages() -> None:
    origin = Origin(
        "made-up",
        "a licence",
        (Package("pip", "x", "1"),),
        ("*",),
        lambda _: iter([Pair("k", "dz", KA, "甲")]),
    )
    (example,) = origin.examples({})
    assert (example.id, example.origin, example.licence) == ("made-up:k", "made-up", "a licence")
    assert (example.source_language, example.target_language, example.source, example.reference) == (
        "dz",
        "zh",
        KA,
        "甲",
    )


def test_every_origin_has_a_licence_and_every_pip_package_a_pin() -> None:
    assert all(origin.licence and origin.packages and origin.members for origin in ORIGINS)
    assert all(bool(p.version) == (p.registry != "debian") for origin in ORIGINS for p in origin.packages)
    assert len({origin.name for origin in ORIGINS}) == len(ORIGINS)
