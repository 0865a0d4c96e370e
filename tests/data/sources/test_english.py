"""Readers of Tibetan-script and English pairs, on made-up files of each format."""

import json
from pathlib import Path

import pytest
from invented_files import write

from data.cache import cache_dir
from data.obtain import Archive
from data.sources import english, libreoffice_help, mediawiki, package_corpus, udhr
from data.sources.origin import Pair, short_key

KA = "ཀ་ཀ"
KHA = "ཁ་ཁ"
GA = "ག་ག"


def po(**messages: str) -> str:
    return "".join(f'msgid "{key}"\nmsgstr "{text}"\n\n' for key, text in messages.items())


def test_help_joins_on_page_and_paragraph(tmp_path: Path) -> None:
    dz = tmp_path / "dz"
    en = tmp_path / "en"
    write(dz / "usr/share/libreoffice/help/dz/text/a.html", f'<p id="1">{KA}</p><p id="2">{KHA}</p>')
    write(en / "usr/share/libreoffice/help/en-US/text/a.html", '<p id="2">two</p><p id="3">three</p>')
    result = list(libreoffice_help.read({"libreoffice-help-dz": dz, "libreoffice-help-en-us": en}, "en-US"))
    assert result == [Pair("text/a.html#2", "dz", KHA, "two")]
    assert list(libreoffice_help.read({"libreoffice-help-dz": dz}, "en-US")) == []


def test_messages_pair_with_their_keys_in_both_languages(tmp_path: Path) -> None:
    write(tmp_path / "usr/share/locale/dz/LC_MESSAGES/n.po", po(_Open=f"{KA}(_O)"))
    write(tmp_path / "usr/share/locale/bo/LC_MESSAGES/n.po", po(Close=KHA))
    result = list(english.read_messages({"n": tmp_path}))
    assert result == [
        Pair(f"n#{short_key('_Open')}", "dz", KA, "Open"),
        Pair(f"n#{short_key('Close')}", "bo", KHA, "Close"),
    ]


def test_messages_pair_with_chinese_where_the_program_has_it(tmp_path: Path) -> None:
    write(tmp_path / "usr/share/locale/dz/LC_MESSAGES/n.po", po(Open=KA, Close=KHA))
    write(tmp_path / "usr/share/locale/bo/LC_MESSAGES/other.po", po(Open=GA))
    write(tmp_path / "usr/share/locale/zh_CN/LC_MESSAGES/n.po", po(Open="打开(_O)"))
    assert list(english.read_chinese_messages({"n": tmp_path})) == [
        Pair(f"n#{short_key('Open')}", "dz", KA, "打开")
    ]


def test_mediawiki_and_declaration_in_english(tmp_path: Path) -> None:
    for language, text in (("bo", KA), ("en", "search")):
        write(tmp_path / f"a/i18n/{language}.json", json.dumps({"x": text, "@metadata": {}}))
    assert list(mediawiki.read({"mediawiki": tmp_path}, target="en")) == [
        Pair("bo:a/i18n#x", "bo", KA, "search")
    ]
    for name, texts in (("bod", [KA, KHA]), ("dzo", [GA]), ("eng", ["one", "two"])):
        article = "<article>" + "".join(f"<p>{text}</p>" for text in texts) + "</article>"
        write(tmp_path / f"package/declaration/{name}.html", f"<header><p>{texts[0]}</p></header>{article}")
    assert [(pair.key, pair.target) for pair in udhr.read({"udhr": tmp_path}, target="eng")] == [
        ("bo#0.0", "one"), ("bo#1.0", "one"), ("bo#1.1", "two"), ("dz#0.0", "one"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("menu\x04_File", "File"),
        ("Cu_t", "Cut"),
        ("max_size of min_size", "max_size of min_size"),
        ("<b>A</b> &amp; B", "A & B"),
    ],
)
def test_english_keys_lose_context_and_marks(key: str, text: str) -> None:
    assert english.english_message(key) == text


def test_examples_say_which_language_they_pair_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "usr/share/locale/dz/LC_MESSAGES/n.po", po(Open=KA))
    write(tmp_path / "usr/share/locale/zh_CN/LC_MESSAGES/n.po", po(Open="打开"))
    monkeypatch.setattr(package_corpus, "unpack", lambda archive, folder, members: tmp_path)
    result = list(english.examples({"yelp": Archive(tmp_path, "0")}, tmp_path))
    assert [(e.target_language, e.reference, e.origin, e.licence) for e in result] == [
        ("en", "Open", "yelp", "GPL-2.0-or-later"), ("zh", "打开", "yelp", "GPL-2.0-or-later"),
    ]  # fmt: skip


def test_every_origin_has_a_licence() -> None:
    assert all(origin.licence and origin.packages for origin in (*english.ENGLISH, *english.MORE_CHINESE))


@pytest.mark.real
def test_real_interface_gives_thousands_of_pairs() -> None:
    folders = sorted((cache_dir() / "unpacked").glob("libreoffice-l10n-dz_*"))
    if not folders:
        pytest.skip("libreoffice-l10n-dz is not in the cache; make data brings it")
    pairs = list(english.read_interface({"libreoffice-l10n-dz": folders[0]}))
    assert 9_000 < len(pairs) < 11_000
    assert all(not pair.target.startswith("~") for pair in pairs)
