"""Reads Qt's compiled message files (.qm) of the deepin applications.

A file is a list of sections; section 0x42 holds pairs (hash of the English message, offset), section 0x69 the
messages as tagged fields. The English text itself may be stripped, so two languages of one program are joined
on the hash.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from data.interface_text import without_accelerators
from data.sources.origin import Folders, Pair, join
from data.sources.package_file import FormatError, parse_file

MAGIC = bytes.fromhex("3cb86418caef9c95cd211cbf60a1bddd")
HASHES = 0x42
MESSAGES = 0x69
TRANSLATION = 3  # 6 source, 7 context, 8 comment
OBSOLETE = 5
LENGTH_PREFIXED = {3, 6, 7, 8}
NO_TEXT = 0xFFFFFFFF  # as a length


def read(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Chinese messages of every program with a `_bo.qm` beside a `_zh_CN.qm`."""
    for folder in folders.values():
        for path in sorted(folder.rglob("*_bo.qm")):
            name = re.sub(r"_bo\.qm$", "", path.name)
            other = path.with_name(f"{name}_zh_CN.qm")
            if other.exists():
                yield from join(_messages_of(path), _messages_of(other), "bo", prefix=f"{name}#")


def _messages_of(path: Path) -> dict[str, str]:
    return {f"{key:08x}": without_accelerators(text) for key, text in parse_file(path, messages).items()}


def messages(content: bytes) -> dict[int, str]:
    """Translation by message hash; of plural forms the first. Raises FormatError when the bytes are not a
    whole .qm file.
    """
    if not content.startswith(MAGIC):
        raise FormatError("is not a .qm file")
    sections = dict(_sections(content))
    texts = sections.get(MESSAGES, b"")
    table = sections.get(HASHES, b"")
    if len(table) % 8:
        raise FormatError("has a table of hashes that is cut off")
    text_of_hash = dict[int, str]()
    num_bytes = 0
    for key, start in struct.iter_unpack(">II", table):
        text_of_hash[key], end = _translation(texts, start)
        num_bytes += end - start
        if num_bytes > len(content):
            raise FormatError("has messages that lie in one another")
    return {key: text for key, text in text_of_hash.items() if text}


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = len(MAGIC)
    while position + 5 <= len(content):
        tag, length = struct.unpack_from(">BI", content, position)
        if position + 5 + length > len(content):
            raise FormatError("is cut off")
        yield tag, content[position + 5 : position + 5 + length]
        position += 5 + length


def _translation(texts: bytes, position: int) -> tuple[str, int]:
    """The first translation field of the message that starts at `position` ("" if it has none), and where the
    message ends.
    """
    while position + 5 <= len(texts):
        tag, length = struct.unpack_from(">BI", texts, position)
        if tag != OBSOLETE and tag not in LENGTH_PREFIXED:
            break
        start = position + 5
        position = start if tag == OBSOLETE or length == NO_TEXT else start + length
        if position > len(texts):
            raise FormatError("has a message that is cut off")
        if tag == TRANSLATION:
            return texts[start:position].decode("utf-16-be", "replace"), position
    return "", position
