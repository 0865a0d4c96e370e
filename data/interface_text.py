"""Rules for interface catalogues and help pages: accelerator keys, format placeholders, wiki markup.

They are for readers of such packages only. In a user's own text `$5`, `50%` and `[[1]]` are prices, shares
and footnotes.
"""

import re

from data.examples import Example
from data.markup import unescape

TAG = re.compile(r"</?[A-Za-z][^<>]*>")
ACCELERATOR_SUFFIX = re.compile(r"(?<!\s)\s*\([~_&]\w\)")
ACCELERATOR = re.compile(r"(?<![A-Za-z0-9])[~_&](?=\w)|(?<=[A-Za-z0-9])~(?=[A-Za-z])")
WIKITEXT = re.compile(r"\{\{|\}\}|\[\[|\]\]")
PLACEHOLDER = re.compile(
    r"%\(\w+\)[a-z]|%\d+\$[a-z]|%[A-Z][A-Z_]{2,}|%-?\d*(?:\.\d+)?l*[sdifuxc]\b|%\d+|\$\(?\w+\)?|\{[\w.:]*\}"
)


def without_accelerators(text: str) -> str:
    """Remove HTML tags, entities and the marks of keyboard accelerators from a message of a user interface.

    >>> without_accelerators("<b>\u6587\u4ef6</b>(~F)"), without_accelerators("_\u6253\u5f00 max_size")
    ('\u6587\u4ef6', '\u6253\u5f00 max_size')
    """
    plain = unescape(TAG.sub("", text))
    return ACCELERATOR.sub("", ACCELERATOR_SUFFIX.sub("", plain))


def interface_problem(example: Example) -> str:
    """Why a clean pair of a catalogue or a help page is dropped, or ""; a headline need not repeat placeholders."""
    if WIKITEXT.search(example.source) or WIKITEXT.search(example.reference):
        return "wiki markup"
    if example.task == "mt" and placeholders(example.source) != placeholders(example.reference):
        return "placeholders differ"
    return ""


def placeholders(text: str) -> list[str]:
    """The format placeholders (`%s`, `$1`, `{name}`, `%PRODUCTNAME` ...) in a text, sorted, since a
    translation may change their order.
    """
    return sorted(PLACEHOLDER.findall(text))
