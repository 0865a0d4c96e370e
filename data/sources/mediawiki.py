"""MediaWiki's interface: one JSON file a language and component, joined on the message name.

Messages with templates or links are left to `data.clean`, which drops them; plain emphasis and HTML tags are taken off here.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

from data.sources.origin import Folders, Pair, join

LANGUAGES = ("bo", "dz")
MARKS = re.compile(r"<[^>]+>|'{2,}")


def read(folders: Folders) -> Iterator[Pair]:
    """Tibetan and Dzongkha messages with the simplified Chinese ones."""
    for folder in folders.values():
        for language in LANGUAGES:
            for path in sorted(folder.rglob(f"{language}.json")):
                other = path.with_name("zh-hans.json")
                if other.exists():
                    yield from join(messages(path), messages(other), language, prefix=f"{language}:{path.relative_to(folder).parent}#")


def messages(path: Path) -> dict[str, str]:
    """Text by message name, without the `@metadata` entry."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: html.unescape(MARKS.sub("", text))
        for name, text in entries.items()
        if isinstance(text, str) and not name.startswith("@")
    }
