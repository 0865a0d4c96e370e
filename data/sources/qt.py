"""Qt's compiled message files (.qm) of the deepin applications.

A file is a list of sections; section 0x42 holds pairs (hash of the English message, offset), section 0x69 the messages as tagged
fields. The English text itself may be stripped, so two languages of one program are joined on the hash.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from data.clean import without_accelerators
from data.sources.origin import Folders, Pair, join

MAGIC = bytes.fromhex("3cb86418caef9c95cd211cbf60a1bddd")
HASHES, MESSAGES = 0x42, 0x69
TRANSLATION, OBSOLETE, LENGTH_PREFIXED = 3, 5, {3, 6, 7, 8}  # 6 source, 7 context, 8 comment


def read(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Chinese messages of every program with a `_bo.qm` beside a `_zh_CN.qm`."""
    for folder in folders.values():
        for path in sorted(folder.rglob("*_bo.qm")):
            name = re.sub(r"_bo\.qm$", "", path.name)
            other = path.with_name(f"{name}_zh_CN.qm")
            if other.exists():
                yield from join(_messages_of(path), _messages_of(other), "bo", prefix=f"{name}#")


def _messages_of(path: Path) -> dict[str, str]:
    return {f"{key:08x}": without_accelerators(text) for key, text in messages(path.read_bytes()).items()}


def messages(content: bytes) -> dict[int, str]:
    """Translation by message hash; of plural forms the first. Empty when the bytes are not a .qm file."""
    if not content.startswith(MAGIC):
        return {}
    sections = dict(_sections(content))
    texts, table = sections.get(MESSAGES, b""), sections.get(HASHES, b"")
    found = {key: _translation(texts, offset) for key, offset in struct.iter_unpack(">II", table)}
    return {key: text for key, text in found.items() if text}


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = len(MAGIC)
    while position + 5 <= len(content):
        tag, length = struct.unpack_from(">BI", content, position)
        yield tag, content[position + 5 : position + 5 + length]
        position += 5 + length


def _translation(texts: bytes, position: int) -> str:
    """The first translation field of the message that starts at `position`."""
    while position < len(texts):
        tag = texts[position]
        if tag == OBSOLETE:
            position += 5
        elif tag in LENGTH_PREFIXED:
            (length,) = struct.unpack_from(">I", texts, position + 1)
            length = 0 if length == 0xFFFFFFFF else length
            if tag == TRANSLATION:
                return texts[position + 5 : position + 5 + length].decode("utf-16-be", "replace")
            position += 5 + length
        else:
            break
    return ""
