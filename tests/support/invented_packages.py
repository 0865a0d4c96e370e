"""Files of packages that hold translations, each as its format lays it out. Nobody's text."""

import struct
from collections.abc import Mapping

from data.sources import qt

KA = "\u0f40\u0f0b\u0f40"
KHA = "\u0f41\u0f0b\u0f41"


def mo_bytes(messages: Mapping[str, str], order: str = "<") -> bytes:
    """A .mo file as the gettext manual describes it."""
    keys = sorted(messages)
    texts = [key.encode() for key in keys] + [messages[key].encode() for key in keys]
    offset = 28 + 8 * len(texts)
    table = b""
    body = b""
    for text in texts:
        table += struct.pack(order + "2I", len(text), offset + len(body))
        body += text + b"\0"
    return struct.pack(order + "7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0) + table + body


def qm_bytes(messages: Mapping[int, tuple[str, str]]) -> bytes:
    """A .qm file: each message with its English source (may be empty) and its translation."""
    body = b""
    table = b""
    for key, (source, text) in sorted(messages.items()):
        table += struct.pack(">II", key, len(body))
        translation = text.encode("utf-16-be")
        body += b"\x05" + struct.pack(">I", 7) + b"\x03" + struct.pack(">I", len(translation)) + translation
        body += b"\x06" + struct.pack(">I", len(source.encode())) + source.encode() + b"\x01"
    return qt.MAGIC + b"".join(
        bytes([tag]) + struct.pack(">I", len(part)) + part for tag, part in ((0x42, table), (0x69, body))
    )


def declaration(preamble: list[str], articles: list[list[str]]) -> str:
    """Pages of the declaration as they are nested: a header, then articles, some with lists."""
    header = "<header>\n<h2>0</h2>" + "".join(f"<p>{text}</p>" for text in preamble) + "</header>"
    bodies = (
        "<h2>1</h2><ol>" + "".join(f"<li>\n <p>{text}</p>\n</li>" for text in texts) + "</ol>"
        for texts in articles
    )
    return f"<h1>x</h1>{header}" + "".join(f"<article data-number='1'>{body}</article>" for body in bodies)
