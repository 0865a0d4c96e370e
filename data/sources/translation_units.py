"""Reads the pairs of a translation memory, TMX or XLIFF 1.2 and 2.x, unit by unit.

The languages of the corpus say which texts of a unit are its source and its references. Codes of formatting inside
a text are left out. A file that declares entities is refused, and nothing outside of the file is ever read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from xml.parsers import expat

from data.errors import InputError
from data.script import primary
from data.sources.encoding import command_to_convert
from data.sources.line import MAX_LINE_BYTES, BadLineError, Content, Line, Row, in_words, unread_remark
from data.sources.packed_file import read_blocks

Attributes = dict[str, str]
Texts = dict[str, list[str]]  # of a unit, by language

XML_LANG = "http://www.w3.org/XML/1998/namespace lang"
UNITS = {"tmx": {"tu"}, "xliff": {"trans-unit", "segment"}}  # by the root of the file
TEXTS = {"seg", "source", "target"}
# whose content is no text of the unit: codes of formatting, suggestions, notes
CODES = {"bpt", "ept", "ph", "it", "ut", "x", "bx", "ex", "cp", "sub"}
ASIDE = {"alt-trans", "matches", "note", "notes", "prop"}
UNKNOWN = "und"  # the language that a file does not name
MAX_DEPTH = 100
SHOWN_BYTES = 200  # of a unit that is no pair


@dataclass
class Unit:
    """The texts of a unit, and the line where it begins."""

    number: int
    texts: Texts = field(default_factory=dict)
    size: int = 0


class UnitReader:
    """Follows the elements of a file and keeps the units that are complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = ""
        self.depth = 0
        self.languages = {"source": UNKNOWN, "target": "", "seg": ""}
        self.unit: Unit | None = None
        self.text: list[str] | None = None  # the pieces of the text that is being read
        self.num_aside = 0  # open elements whose content does not count
        self.complete: list[Unit] = []
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.add
        self.parser.EntityDeclHandler = self.refuse_entity
        self.parser.SkippedEntityHandler = self.refuse_entity

    def units(self) -> Iterator[Unit]:
        """All units of the file. Raises InputError."""
        try:
            for block in read_blocks(self.path):
                self.parser.Parse(block, False)
                yield from self.take()
            self.parser.Parse(b"", True)
            yield from self.take()
        except (expat.ExpatError, ValueError, LookupError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(self.sentence(error)) from error

    def take(self) -> list[Unit]:
        """The units that were completed since the last call."""
        units = self.complete
        self.complete = []
        return units

    def sentence(self, error: Exception) -> str:
        """What is wrong with the XML, and what to do."""
        place = f"{self.path}:{self.parser.ErrorLineNumber or 1}"
        codes = (expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],)
        if getattr(error, "code", None) in codes or not isinstance(error, expat.ExpatError):
            command = command_to_convert(self.path, "ENCODING")
            return f"{place} names an encoding that is not read; name UTF-8 there and convert the file: {command}"
        return f"{place} is not well-formed XML ({expat.ErrorString(error.code)}); save it from its program again"

    def refuse_entity(self, name: str, *_: object) -> None:
        """Raises InputError: an entity may grow without end or name another file."""
        line = self.parser.CurrentLineNumber
        raise InputError(
            f"{self.path}:{line}: the entity {name!r} is declared or used; write its text instead of it"
        )

    def start(self, name: str, attributes: Attributes) -> None:
        """An element begins."""
        local = name.rpartition(" ")[2]
        self.depth += 1
        self.root = self.root or self.check_root(local)
        if self.depth > MAX_DEPTH:
            raise InputError(
                f"{self.path}:{self.parser.CurrentLineNumber}: elements are too deep for a corpus"
            )
        self.note_languages(local, attributes)
        if self.num_aside or local in ASIDE or (self.text is not None and local in CODES):
            self.num_aside += 1
        elif local in UNITS[self.root]:
            self.unit = Unit(self.parser.CurrentLineNumber)
        elif local in TEXTS and self.unit is not None:
            self.text = self.unit.texts.setdefault(self.languages[local], [])
            self.text.append("")

    def check_root(self, name: str) -> str:
        """The name of the first element. Raises InputError where it is neither TMX nor XLIFF."""
        if name not in UNITS:
            raise InputError(
                f"{self.path}: its first element is {name!r}; TMX begins with tmx, XLIFF with xliff"
            )
        return name

    def note_languages(self, name: str, attributes: Attributes) -> None:
        """Keep the languages that an element names."""
        if name == "tuv":
            self.languages["seg"] = attributes.get(XML_LANG) or attributes.get("lang", "")
        elif name == "xliff":
            self.languages["source"] = attributes.get("srcLang", UNKNOWN)
            self.languages["target"] = attributes.get("trgLang", "")
        elif name == "file" and "source-language" in attributes:
            self.languages["source"] = attributes["source-language"]
            self.languages["target"] = attributes.get("target-language", "")

    def end(self, name: str) -> None:
        """An element ends."""
        local = name.rpartition(" ")[2]
        self.depth -= 1
        if self.num_aside:
            self.num_aside -= 1
        elif local in UNITS[self.root] and self.unit is not None:
            self.complete.append(self.unit)
            self.unit = None
        elif local in TEXTS:
            self.text = None

    def add(self, text: str) -> None:
        """Characters of a text; of a unit that is too large only their number counts."""
        if self.text is None or self.unit is None or self.num_aside:
            return
        self.unit.size += len(text.encode())
        if self.unit.size <= MAX_LINE_BYTES:
            self.text[-1] += text


def read_units(path: Path, languages: tuple[str, str]) -> Content:
    """The pairs of a translation memory in two languages. Raises InputError."""
    units = UnitReader(path).units()
    first = next(units, None)
    rest = units if first is None else chain([first], units)
    names = [name for name in first.texts if name] if first else []
    rows = (Row(f"{path}:{unit.number}", _shown(unit), _pair(unit, languages)) for unit in rest)
    layout = f"the first unit has {', '.join(names) or 'no text'}" if first else ""
    remarks = unread_remark(
        path, in_words(languages), _other_languages(first.texts, languages) if first else []
    )
    return Content(rows, names=names, layout=layout, remarks=remarks)


def _shown(unit: Unit) -> bytes:
    return " | ".join(chain.from_iterable(unit.texts.values()))[:SHOWN_BYTES].encode()


def _pair(unit: Unit, languages: tuple[str, str]) -> Line | BadLineError:
    """The source and the reference texts of a unit, or why it has none."""
    if unit.size > MAX_LINE_BYTES:
        return BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        source, reference = (_texts_in(unit.texts, language) for language in languages)
    except BadLineError as error:
        return error
    if source is reference:
        return BadLineError(f"one text for {languages[0]!r} and {languages[1]!r}")
    return source[0], tuple(reference)


def _other_languages(texts: Texts, languages: tuple[str, str]) -> list[str]:
    """The languages of a unit that are not read; none where one of the two is missing."""
    try:
        read = [id(_texts_in(texts, language)) for language in languages]
    except BadLineError:
        return []
    return [repr(name) for name, own in texts.items() if id(own) not in read]


def _texts_in(texts: Texts, language: str) -> list[str]:
    """The texts in a language: under its very tag, else under one with the same language, else under none."""
    same = [name for name in texts if name and primary(name) == primary(language)]
    exact = [name for name in same if name.replace("_", "-").lower() == language.replace("_", "-").lower()]
    for name in (*exact, *same, ""):
        if name in texts:
            return texts[name]
    raise BadLineError(f"no text in {language!r}")
