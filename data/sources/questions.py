"""Questions with their answers out of a package, English and Chinese: general texts for an anchor that are no news.

The conversations of the ChatterBot corpus (BSD licence): trivia, science, computers, literature, small talk. A text is
one conversation, a line for each turn. Those that name a capital city's office are left out: the probes ask for them.
"""

from pathlib import Path
from typing import Any

from data.sources.package_file import FormatError, parse_file, text_of

PACKAGE = "chatterbot-corpus"
VERSION = "1.3.3"
FOLDERS = ("english", "chinese")
PROBED = ("capital", "首都")  # words of what the probes of eval/forgetting ask for


def conversations(content: bytes) -> list[str]:
    """The texts of a YAML file with a list of "conversations", each a list of turns. Raises FormatError."""
    import yaml  # here: only who asks for these texts needs it

    try:
        document: Any = yaml.safe_load(text_of(content))
    except yaml.YAMLError as error:
        raise FormatError(f"is not YAML ({' '.join(str(error).split())})") from error
    talks = document.get("conversations") if isinstance(document, dict) else None
    if not isinstance(talks, list):
        raise FormatError('has no list of "conversations"')
    return ["\n".join(str(turn).strip() for turn in talk) for talk in talks if isinstance(talk, list)]


def questions_of(package: Path, language: str) -> list[str]:
    """The conversations in a language, each once, in the order of files and lines. Raises InputError."""
    files = sorted(package.rglob(f"data/{language}/*.yml"))
    texts = dict.fromkeys(text for file in files for text in parse_file(file, conversations))
    return [text for text in texts if not any(word in text.lower() for word in PROBED)]
