"""Reads gettext catalogues, compiled (.mo) and not (.po), and joins two languages on the English message.

It supports a part of gettext: of plural forms the first is read, fuzzy entries are skipped (as msgfmt does),
and the header entry is dropped. All catalogues read here are UTF-8.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from data.interface_text import without_accelerators
from data.sources.origin import Folders, Pair, join, short_key
from data.sources.package_file import FormatError, parse_file, text_of

LIBREOFFICE = "usr/lib/libreoffice/program/resource"


def read_libreoffice(folders: Folders, language: str = "dz") -> Iterator[Pair]:
    """A language and Chinese of LibreOffice's user interface; its accelerator mark is `~`, and `_` in dialogues."""
    if len(folders) < 2:
        return  # one language alone aligns with nothing
    source = folders[f"libreoffice-l10n-{language}"]
    target = folders["libreoffice-l10n-zh-cn"]
    yield from _join_folders(source / LIBREOFFICE / language, target / LIBREOFFICE / "zh_CN", language)


def read_messages(folders: Folders, language: str) -> Iterator[Pair]:
    """A language and English of every catalogue; a message is English itself. Untranslated ones are left out."""
    for folder in folders.values():
        for path in sorted(folder.rglob("*.mo")):
            for key, text in catalogue(path).items():
                message = without_accelerators(key.split("\x04")[-1])
                translation = without_accelerators(text)
                if translation.casefold() != message.casefold():
                    yield Pair(f"{path.stem}#{short_key(key)}", language, translation, message)


def read_locales(
    folders: Folders, language: str = "bo", target: str = "zh_CN", has_places: bool = False
) -> Iterator[Pair]:
    """A language and another one: of any `locale` folder that has folders of both. `has_places`: keys name the folder
    around `locale`, as packages with many of them need.
    """
    for folder in folders.values():
        for own in sorted(folder.rglob(f"locale/{language}")):
            place = f"{own.parent.parent.name}/" if has_places else ""
            yield from _join_folders(own, own.with_name(target), language, place)


def _join_folders(source: Path, target: Path, language: str, place: str = "") -> Iterator[Pair]:
    """Pairs of every catalogue that lies under both folders at the same place."""
    for path in sorted(source.rglob("*.[mp]o")):
        other = target / path.relative_to(source)
        if other.exists():
            messages = {short_key(key): without_accelerators(text) for key, text in catalogue(path).items()}
            others = {short_key(key): without_accelerators(text) for key, text in catalogue(other).items()}
            yield from join(messages, others, language, prefix=f"{place}{path.stem}#")


def catalogue(path: Path) -> dict[str, str]:
    """Translation by message; the key includes the context as `context\\x04message`."""
    messages = parse_file(path, parse_mo) if path.suffix == ".mo" else parse_po(parse_file(path, text_of))
    return {key: text for key, text in messages.items() if key and text}


def parse_mo(content: bytes) -> dict[str, str]:
    """The messages of a .mo file: two tables of (length, offset), one of originals and one of translations.
    Raises FormatError.
    """
    order = BYTE_ORDERS.get(content[:4])
    if order is None or len(content) < 20:
        raise FormatError("is not a .mo file")
    count, originals, translations = struct.unpack_from(order + "3I", content, 8)
    return dict(
        zip(
            _column(content, order, originals, count),
            _column(content, order, translations, count),
            strict=True,
        )
    )


def _column(content: bytes, order: str, table: int, count: int) -> list[str]:
    """The texts of one table; of plural forms the first."""
    if table + 8 * count > len(content):
        raise FormatError("is cut off in a table")
    places = [struct.unpack_from(order + "2I", content, table + 8 * row) for row in range(count)]
    if any(offset + length > len(content) for length, offset in places):
        raise FormatError("has a text that is cut off")
    if sum(length for length, _ in places) > len(content):
        raise FormatError("has texts that lie in one another")
    return [
        content[offset : offset + length].decode("utf-8", "replace").split("\0")[0]
        for length, offset in places
    ]


BYTE_ORDERS = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}
ENTRY = re.compile(r"\n\s*\n")
FIELD = re.compile(
    r'^(msgctxt|msgid_plural|msgid|msgstr(?:\[0\])?)\s+((?:"(?:[^"\\]|\\.)*"\s*)+)', re.MULTILINE
)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{2}|.)")
ESCAPED = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
}


def parse_po(content: str) -> dict[str, str]:
    """The messages of a .po file that are translated and not marked fuzzy."""
    messages: dict[str, str] = {}
    for entry in ENTRY.split(content):
        lines = [line for line in entry.split("\n") if not line.startswith("#")]
        if re.search(r"^#,.*\bfuzzy\b", entry, re.MULTILINE):
            continue
        fields = {
            name: "".join(map(unquote, QUOTED.findall(body)))
            for name, body in FIELD.findall("\n".join(lines))
        }
        if "msgid" in fields:
            context = fields["msgctxt"] + "\x04" if "msgctxt" in fields else ""
            messages[context + fields["msgid"]] = fields.get("msgstr", fields.get("msgstr[0]", ""))
    return messages


def unquote(text: str) -> str:
    r"""Decode a quoted text of a .po file with C's escapes; any other escape stays as written.

    >>> unquote(r"\x41\102 \" \_")
    'AB " \\_'
    """
    return ESCAPE.sub(_unescape, text)


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] in "01234567" or len(code) == 3:
        return chr(int(code, 8) if code[0] != "x" else int(code[1:], 16))
    return ESCAPED.get(code, escape[0])
