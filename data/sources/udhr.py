"""Reads the Universal Declaration of Human Rights: HTML with the same header and thirty articles in every
language.

Sections are matched by position, and so are their paragraphs where a section has equally many in both
languages; other sections are left out, as nothing else aligns them. Article headings are left out: they are
numbers.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from data.markup import elements, unescape
from data.sources.origin import Folders, Pair
from data.sources.package_file import parse_file, text_of

LANGUAGES = {"bo": "bod", "dz": "dzo"}
SECTIONS = "header|article"
PARAGRAPH = re.compile(r"<(?:p|li)\b[^<>]*>([^<]*)")


def read(
    folders: Folders, languages: Mapping[str, str] = LANGUAGES, target: str = "cmn_hans"
) -> Iterator[Pair]:
    """Paragraphs of each of the `languages` (code -> file) with those of the file `target`."""
    for folder in folders.values():
        declarations = folder / "package" / "declaration"
        target_sections = sections(declarations / f"{target}.html")
        for language, name in languages.items():
            for section, (source_texts, target_texts) in enumerate(
                zip(sections(declarations / f"{name}.html"), target_sections, strict=False)
            ):
                if len(source_texts) == len(target_texts):
                    for row, (source, target) in enumerate(zip(source_texts, target_texts, strict=True)):
                        yield Pair(f"{language}#{section}.{row}", language, source, target)


def sections(path: Path) -> list[list[str]]:
    """The paragraphs and list items with text, section by section."""
    bodies = (body for _, _, body in elements(parse_file(path, text_of), SECTIONS))
    texts_of_sections = ([unescape(text).strip() for text in PARAGRAPH.findall(body)] for body in bodies)
    return [[text for text in texts if text] for texts in texts_of_sections]
