"""gettext catalogues, compiled (.mo) and not (.po), joined on the English message.

Not a full gettext: of plural forms the first is taken, fuzzy entries are left out (as msgfmt leaves them out), and the header
entry is dropped. All catalogues read here are UTF-8.
"""

import ast
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from data.clean import without_accelerators
from data.sources.origin import Folders, Pair, join, short_key

LIBREOFFICE = "usr/lib/libreoffice/program/resource"


def read_libreoffice(folders: Folders) -> Iterator[Pair]:
    """Dzongkha and Chinese of LibreOffice's user interface; its accelerator mark is `~`, and `_` in dialogues."""
    if len(folders) < 2:
        return  # one language alone aligns with nothing
    source, target = folders["libreoffice-l10n-dz"], folders["libreoffice-l10n-zh-cn"]
    yield from _joined(source / LIBREOFFICE / "dz", target / LIBREOFFICE / "zh_CN", "dz")


def read_system(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Chinese of programs that keep their catalogues under usr/share/locale."""
    for folder in folders.values():
        locale = folder / "usr/share/locale"
        yield from _joined(locale / "bo", locale / "zh_CN", "bo")


def read_python(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Chinese of Python packages: any `locale` folder with `bo` and `zh_Hans` in it."""
    for folder in folders.values():
        for tibetan in sorted(folder.rglob("locale/bo")):
            yield from _joined(tibetan, tibetan.parent / "zh_Hans", "bo")


def read_iso_names(folders: Folders) -> Iterator[Pair]:
    """Dzongkha and Chinese names of countries (ISO 3166)."""
    for folder in folders.values():
        for dzongkha in sorted(folder.rglob("locale/dz")):
            yield from _joined(dzongkha, dzongkha.parent / "zh_CN", "dz")


def _joined(source: Path, target: Path, language: str) -> Iterator[Pair]:
    """Pairs of every catalogue that lies under both folders at the same place."""
    for path in sorted(source.rglob("*.[mp]o")):
        other = target / path.relative_to(source)
        if other.exists():
            messages = {short_key(key): without_accelerators(text) for key, text in catalogue(path).items()}
            others = {short_key(key): without_accelerators(text) for key, text in catalogue(other).items()}
            yield from join(messages, others, language, prefix=f"{path.stem}#")


def catalogue(path: Path) -> dict[str, str]:
    """Translation by message, the context included in the key as `context\\x04message`."""
    messages = compiled(path.read_bytes()) if path.suffix == ".mo" else plain(path.read_text(encoding="utf-8"))
    return {key: text for key, text in messages.items() if key and text}


def compiled(content: bytes) -> dict[str, str]:
    """The messages of a .mo file: two tables of (length, offset), one of originals and one of translations."""
    order = "<" if content[:4] == b"\xde\x12\x04\x95" else ">"
    count, originals, translations = struct.unpack_from(order + "3I", content, 8)

    def text(table: int, row: int) -> str:
        length, offset = struct.unpack_from(order + "2I", content, table + 8 * row)
        return content[offset : offset + length].decode("utf-8", "replace").split("\0")[0]

    return {text(originals, row): text(translations, row) for row in range(count)}


ENTRY = re.compile(r"\n\s*\n")
FIELD = re.compile(r'^(msgctxt|msgid_plural|msgid|msgstr(?:\[0\])?)\s+((?:"(?:[^"\\]|\\.)*"\s*)+)', re.MULTILINE)
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def plain(content: str) -> dict[str, str]:
    """The messages of a .po file that are translated and not marked fuzzy."""
    messages: dict[str, str] = {}
    for entry in ENTRY.split(content):
        lines = [line for line in entry.splitlines() if not line.startswith("#")]
        if re.search(r"^#,.*\bfuzzy\b", entry, re.MULTILINE):
            continue
        fields = {name: "".join(ast.literal_eval(part) for part in QUOTED.findall(body)) for name, body in FIELD.findall("\n".join(lines))}
        if "msgid" in fields:
            context = fields["msgctxt"] + "\x04" if "msgctxt" in fields else ""
            messages[context + fields["msgid"]] = fields.get("msgstr", fields.get("msgstr[0]", ""))
    return messages
