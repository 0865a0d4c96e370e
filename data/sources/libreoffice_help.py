"""Reads LibreOffice's help pages: HTML in which every translated paragraph and heading keeps the id of the
English one.

Both languages are translations of the same English paragraph, so (page, id) aligns them exactly. An
untranslated paragraph is in English, and the script filter drops it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data.markup import elements, unescape, without_tags
from data.sources.origin import Folders, Pair, join
from data.sources.package_file import parse_file, text_of

HELP = "usr/share/libreoffice/help"
MEMBERS = (f"{HELP}/*/text/*.html",)
LICENCE = "MPL-2.0"
BLOCKS = "p|h[1-6]"
ID = re.compile(r'\bid="([^"]+)"')


def read(folders: Folders, target: str = "zh-CN") -> Iterator[Pair]:
    """Dzongkha and Chinese (or other) paragraphs and headings of the same page and id."""
    if len(folders) < 2:
        return  # one language alone aligns with nothing
    own = folders["libreoffice-help-dz"] / HELP / "dz"
    others = folders[f"libreoffice-help-{target.lower()}"] / HELP / target
    for page in sorted(own.glob("text/**/*.html")):
        name = page.relative_to(own)
        other = others / name
        if other.exists():
            yield from join(paragraphs(page), paragraphs(other), "dz", prefix=f"{name}#")


def paragraphs(page: Path) -> dict[str, str]:
    """The text of each paragraph and heading that has an id, by that id; the first one where an id comes twice."""
    texts: dict[str, str] = {}
    for _, attributes, body in elements(parse_file(page, text_of), BLOCKS):
        key = ID.search(attributes) or ID.search(body)
        text = unescape(without_tags(body)).strip()
        if key and text:
            texts.setdefault(key[1], text)
    return texts
