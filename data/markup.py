"""Extracts elements, tags and entities from HTML by pattern, in linear time for any page.

It is not a parser. A plain `<(p)[^>]*>(.*?)</\\1>` gives the same on the pages of the packages, and takes
minutes on a page of unclosed tags.
"""

import html
import re
from collections.abc import Iterator

TAG = re.compile(r"<[^>]+>")
LONG_NUMBER = re.compile(r"&#[0-9]{100,};?")  # `html.unescape` raises on thousands of digits


def elements(page: str, names: str) -> Iterator[tuple[str, str, str]]:
    """(name, attributes, body) of every element whose name matches `names`, up to its first end tag; an
    element without an end tag is skipped.

    >>> list(elements('<p id="1">a <b>b</b></p><p>c<h1>d</h1>', "p|h[1-6]"))
    [('p', ' id="1"', 'a <b>b</b>'), ('h1', '', 'd')]
    """
    opening = re.compile(rf"<({names})\b")
    endless = set[str]()
    position = 0
    while tag := opening.search(page, position):
        name = tag[1]
        position = tag.end()
        bracket = -1 if name in endless else page.find(">", position)
        end = -1 if bracket < 0 else page.find(f"</{name}>", bracket)
        if end < 0:
            endless.add(name)
        else:
            yield name, page[position:bracket], page[bracket + 1 : end]
            position = end + len(name) + 3


def without_tags(text: str) -> str:
    """`text` without anything between `<` and `>`."""
    # a `<` behind the last `>` opens nothing, and looking for its end each time is quadratic
    end = text.rfind(">") + 1
    return TAG.sub("", text[:end]) + text[end:]


def unescape(text: str) -> str:
    """`text` with entities as characters; an invalid one becomes U+FFFD.

    >>> unescape("&lt;&#38;&#xd800;&#" + "9" * 5000 + ";")
    '<&\\ufffd\\ufffd'
    """
    return html.unescape(LONG_NUMBER.sub("\ufffd", text))
