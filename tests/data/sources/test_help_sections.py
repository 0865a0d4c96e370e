"""Headings and the sections under them, on a made-up page as LibreOffice's generator lays it out."""

import zipfile
from pathlib import Path

import pytest

from data.cache import cache_dir
from data.clean import Limits, clean
from data.errors import InputError
from data.obtain import HASH_NAME, Archive
from data.script import script_share, tibetan_syllables
from data.sources import help_sections
from data.sources.help_sections import PACKAGE, examples, sections, without_asides
from data.sources.libreoffice_help import HELP

KA, KHA, GA, NGA = ("\u0f0b".join([letter] * 3) for letter in "\u0f40\u0f41\u0f42\u0f44")

PAGE = f"""<html><head><title>{KA}</title></head><body><header><p dir="auto">LibreOffice 7.4 Help</p></header>
<h1 id="a" dir="auto"><a name="x"></a>{KA}&amp;</h1>
<p id="b" class="paragraph"><span class="avis">{KHA}</span>
   {KHA}</p>
<div class="howtoget"><div><p class="howtogetheader">{NGA}</p></div>
<div class="howtogetbody"><div class="embedded"><p>{NGA}</p></div><div class="icontable"><p>{NGA}</p></div></div></div>
<p class="paragraph">This one was never translated.</p><p><img alt="{NGA}"></p>
<div class="note"><div class="notetext"><p dir="auto">{GA}</p></div></div>
<h2>Never translated</h2><p>{GA}</p>
<h2>{GA}</h2>
<h3>{KHA}</h3><p>The first paragraph was not translated.</p><p>{NGA}</p>
<h3>{NGA}</h3><div class="icontable"><p>{NGA}</p></div><ul><li><p class="listitem">{KA}</p></li></ul>
<p class="related">{GA}</p><p>{GA}</p>
<div class="relatedtopics"><div class="relatedbody"><p>{GA}</p></div></div>
<footer><div id="DEBUG" class="debug"><h3 class="bug">{KA}</h3><p>{KA}</p></div></footer></body></html>"""


def test_section_is_a_translated_heading_with_the_translated_paragraphs_up_to_the_next() -> None:
    assert list(sections(PAGE)) == [(f"{KA}&", f"{KHA} {KHA} {GA}"), (NGA, KA)]


def test_page_without_headings_has_no_section() -> None:
    assert list(sections(f"<p>{KA}</p>")) == [] == list(sections(""))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>a</p>", "<p>a</p>"),
        ('a<div class="icontable" id="x"><div><div>b</div></div>c</div>d<div>e</div>', "ad<div>e</div>"),
        ('a<div class="debug">b</div><div class="howtoget">c</div>d', "ad"),
        ('a<div class="debug"><div>b</div>', "a"),  # never closed: it goes on to the end
        ('a<div class="howtogetheader">b</div>', 'a<div class="howtogetheader">b</div>'),
    ],
)
def test_asides_go_with_all_that_is_nested_in_them(page: str, expected: str) -> None:
    assert without_asides(page) == expected


def make_archive(folder: Path, pages: dict[str, str]) -> Archive:
    path = folder / "help.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, page in pages.items():
            archive.writestr(f"{HELP}/dz/text/{name}", page)
    return Archive(path, "0" * 64)


def test_examples_name_page_and_section_and_are_headlines_within_one_language(tmp_path: Path) -> None:
    result = list(
        examples(
            make_archive(tmp_path, {"swriter/b.html": PAGE, "shared/a.html": f"<h1>{KA}</h1><p>{GA}</p>"}),
            tmp_path,
        )
    )
    assert [example.id for example in result] == [
        "libreoffice-help:text/shared/a.html#section0",
        "libreoffice-help:text/swriter/b.html#section0",
        "libreoffice-help:text/swriter/b.html#section1",
    ]
    assert (result[0].source, result[0].reference) == (GA, KA)
    assert {(e.task, e.source_language, e.target_language, e.licence) for e in result} == {
        ("headline", "dz", "dz", "MPL-2.0")
    }


def test_missing_package_is_one_sentence_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        help_sections,
        "debian_archives",
        lambda names, cache, say: ({}, {PACKAGE: "apt-get is not installed here"}),
    )
    with pytest.raises(
        InputError,
        match=r"data\.corpus=headlines: libreoffice-help-dz .* could not be obtained: apt-get is not",
    ):
        help_sections.obtain(tmp_path)


@pytest.mark.real
def test_real_pages_give_thousands_of_sections_whose_headings_follow_from_them() -> None:
    folder = cache_dir() / "packages" / "debian" / PACKAGE
    if not (folder / HASH_NAME).exists():
        pytest.skip(f"{PACKAGE} is not in the cache; `make data` obtains it")
    tally = clean(examples(help_sections.obtain(cache_dir()), cache_dir()), Limits(12, 120, 2, 12))
    assert 4500 < tally.num_read.total() < 6000
    assert 2500 < len(tally.pairs) < 4000
    assert all(
        min(script_share(e.source, "Tibt"), script_share(e.reference, "Tibt")) >= 0.5 for e in tally.pairs
    )
    lengths = sorted(tibetan_syllables(example.source) for example in tally.pairs)
    assert 20 < lengths[len(lengths) // 2] < 50
    assert sum(
        example.reference.strip("\u0f0b\u0f0d ") in example.source for example in tally.pairs
    ) < 0.5 * len(tally.pairs)
