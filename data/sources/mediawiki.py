"""Reads MediaWiki's interface: one JSON file per language and component, joined on the message name.

`data.clean` drops messages with templates or links; plain emphasis and HTML tags are removed here.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.markup import unescape, without_tags
from data.sources.origin import Folders, Pair, join
from data.sources.package_file import FormatError, parse_file, text_of

LANGUAGES = ("bo", "dz")
EMPHASIS = re.compile("'{2,}")


def read(folders: Folders, languages: Sequence[str] = LANGUAGES, target: str = "zh-hans") -> Iterator[Pair]:
    """Messages in each of the `languages` with those in `target`."""
    for folder in folders.values():
        for language in languages:
            for path in sorted(folder.rglob(f"{language}.json")):
                other = path.with_name(f"{target}.json")
                if other.exists():
                    place = f"{language}:{path.relative_to(folder).parent}#"
                    yield from join(messages(path), messages(other), language, prefix=place)


def messages(path: Path) -> dict[str, str]:
    """Text by message name, without the `@metadata` entry."""
    return parse_file(path, messages_in)


def messages_in(content: bytes) -> dict[str, str]:
    """`messages` of a file's bytes; raises FormatError."""
    text = text_of(content)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError("is not JSON") from error
    if not isinstance(entries, dict):
        raise FormatError("is not a JSON object")
    return {
        name: unescape(without_tags(EMPHASIS.sub("", text)))
        for name, text in entries.items()
        if isinstance(text, str) and not name.startswith("@")
    }
