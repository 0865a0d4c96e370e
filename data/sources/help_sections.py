"""Headlines in Tibetan script: the headings of LibreOffice's Dzongkha help pages, each with the text of its
section.

It is not a parser of HTML: one generator made all pages, so tags and classes identify the blocks of a
section. How to reach a command, the labels of buttons and links to other pages are left out: they repeat the
heading or say nothing about it. Untranslated paragraphs and headings are in English and left out too.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data.clean import clean_text
from data.errors import InputError
from data.examples import Example
from data.markup import elements, unescape, without_tags
from data.obtain import Archive, debian_archives
from data.script import known_script, script_share
from data.sources.libreoffice_help import BLOCKS, HELP, LICENCE, MEMBERS
from data.sources.package_file import parse_file, text_of
from data.unpack import unpack

PACKAGE = "libreoffice-help-dz"
LANGUAGE = "dz"
ORIGIN = "libreoffice-help"
MEANS = "headings and sections of LibreOffice's Dzongkha help, a package of Debian"
MIN_SHARE = 0.5  # of a paragraph's or heading's characters in Tibetan script
DIVISION = re.compile(r"<(/?)div\b([^<>]*)>")
ASIDE = re.compile(r'class="(?:howtoget|icontable|relatedtopics|debug)"')
# the line above links to other pages ends a section as a heading does
RELATED = re.compile(r'class="related"')


def obtain(cache: Path, say: Callable[[str], None] = print) -> Archive:
    """The package with the pages. Raises InputError where it cannot be obtained."""
    archives, missing = debian_archives([PACKAGE], cache, say)
    if PACKAGE not in archives:
        raise InputError(
            f"data.corpus=headlines: {PACKAGE} is a package of Debian and could not be obtained: {missing[PACKAGE]}"
        )
    return archives[PACKAGE]


def examples(archive: Archive, cache: Path) -> Iterator[Example]:
    """(body, heading) of every section of every page, in the order of the pages' names."""
    folder = unpack(archive.path, cache / "unpacked", MEMBERS) / HELP / LANGUAGE
    for page in sorted(folder.glob("text/**/*.html")):
        for number, (heading, body) in enumerate(sections(parse_file(page, text_of))):
            key = f"{ORIGIN}:{page.relative_to(folder)}#section{number}"
            yield Example(key, body, heading, ORIGIN, LICENCE, LANGUAGE, LANGUAGE, task="headline")


def sections(page: str) -> Iterator[tuple[str, str]]:
    """(heading, body) of each section whose heading and first paragraph are translated, since the first
    paragraph says what the section is about.
    """
    heading = ""
    paragraphs = list[str]()
    for is_border, text in [*_blocks(without_asides(page)), (True, "")]:
        if not is_border:
            paragraphs.append(text)
            continue
        if paragraphs and is_translated(heading) and is_translated(paragraphs[0]):
            yield heading, " ".join(filter(is_translated, paragraphs))
        heading = text
        paragraphs = []


def without_asides(page: str) -> str:
    """Remove the divisions of a class in `ASIDE` from a page, with everything in them.

    >>> without_asides('<p>a</p><div class="howtoget"><div>b</div>c</div><div>d</div>')
    '<p>a</p><div>d</div>'
    """
    parts = []
    depth = 0
    start = 0
    for tag in DIVISION.finditer(page):
        if depth:
            depth += -1 if tag[1] else 1
            start = tag.end()
        elif ASIDE.search(tag[2]):
            parts.append(page[start : tag.start()])
            depth = 1
    return "".join(parts) + (page[start:] if not depth else "")


def is_translated(text: str) -> bool:
    """Whether a paragraph or heading is in Tibetan script and not in English."""
    return script_share(text, known_script(LANGUAGE)) >= MIN_SHARE


def _blocks(page: str) -> Iterator[tuple[bool, str]]:
    """(False, paragraph) or (True, the heading where the next section starts, "" without one), in the order
    of the page.
    """
    for name, attributes, body in elements(page, BLOCKS):
        text = clean_text(unescape(without_tags(body)))
        if name != "p" or RELATED.search(attributes):
            yield True, "" if name == "p" else text
        elif text:
            yield False, text
