"""`semantic-grpo settings`: every setting of every section as a Markdown page, which docs/settings.md keeps.

Names, types and defaults are those of the dataclasses, and bounds those of the tables that check them. What a
setting does is said by the comment behind it, or else by the sentences of its section's docstring that name it.
"""

import ast
import dataclasses
import inspect
import io
import re
import tokenize
import types
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from data import config as data_config
from data.arguments import ArgumentParser
from data.corpora_config import CorpusConfig
from data.documents import LARGEST
from data.settings import Bounds
from grpo.config import Config
from grpo.config_check import BOUNDS
from grpo.config_file import toml_value
from grpo.study.config import ArmConfig, SequenceConfig, Study, TransferConfig
from reward import combine
from reward.distil import config as distil_config

TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any value"}
HEAD = """# Every setting

This page lists every setting with its type, its default and its bounds. `semantic-grpo settings` prints it from the
code, so it is that of your version. `section.key=value` on the command line and `key = value` under `[section]` in the
file are the same. An unknown name is refused with the list of known ones.
"""


SAME = {CorpusConfig: data_config.DataConfig}  # settings that mean what they mean in another section
TABLES = ("data.corpora", "arms", "transfer", "sequence", "arms.NAME.name", "arms.NAME.kind")


class Setting(NamedTuple):
    """A row of the page."""

    name: str
    kind: str
    default: str
    bounds: str
    sentence: str


def kind_of(hint: Any) -> str:
    """The words for a declared type: what may be written.

    >>> kind_of(tuple[str, ...]), kind_of(dict[str, float]), kind_of(str | int)
    ('list of text', 'table of number', 'text or whole number')
    """
    origin = typing.get_origin(hint)
    inner = typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" if value else '`""`' for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(one) for one in inner)
    if origin is tuple:
        return f"list of {kind_of(inner[0])}"
    if origin is dict:
        return f"table of {kind_of(inner[1])}"
    return TYPES.get(hint, "table")


def range_of(row: Bounds) -> str:
    """Its bounds in words.

    >>> range_of(Bounds(0, LARGEST, "seed")), range_of(Bounds(0.01, 100, "temperature"))
    ('from 0', '0.01 to 100')
    """
    return f"from {row.low:,}" if row.high == LARGEST else f"{row.low:,} to {row.high:,}"


def bounds_of(tables: Iterable[tuple[str, Iterable[Bounds]]]) -> dict[str, str]:
    """The full name of each setting that has bounds -> its bounds; `tables`: a prefix and the table behind it."""
    return {
        f"{prefix}{name}": range_of(row)
        for prefix, table in tables
        for row in table
        for name in row.names.split()
    }


@cache
def comments_of(section: type) -> dict[str, str]:
    """What the comment behind each field of a dataclass says."""
    source = inspect.getsource(section)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT}
    (tree,) = ast.parse(source).body
    fields = [one for one in getattr(tree, "body", []) if isinstance(one, ast.AnnAssign)]
    found = {
        ast.unparse(one.target): " ".join(
            text for line, text in comments.items() if one.lineno <= line <= (one.end_lineno or 0)
        )
        for one in fields
    }
    return {name: text for name, text in found.items() if text and not text.startswith("fmt:")}


def sentences_of(section: type) -> list[str]:
    """The sentences of a section's docstring, without its head."""
    text = re.sub(
        r"^(Section|A table) .*?\](, [a-z ]+:|[:.,]| or \[.*?\]\.)\s+",
        "",
        " ".join((section.__doc__ or "").split()),
    )
    return re.split(r"(?<=[.;])\s+(?=[A-Z`a-z])", text)


def sentence_of(section: type, name: str) -> str:
    """What a setting does; "" where neither a comment nor the docstring says it."""
    word = f"`{name}`"
    named = min(
        (one for one in sentences_of(section) if word in one),
        key=lambda one: not one.startswith(word),
        default="",
    )
    text = comments_of(section).get(name) or named.removeprefix(f"`{name}`: ").rstrip(".;")
    if not text and section in SAME:
        return sentence_of(SAME[section], name)
    return (text[:1].upper() + text[1:] + ".").replace("|", "\\|") if text else ""


def rows_of(section: Any, prefix: str, bounds: dict[str, str]) -> Iterator[Setting]:
    """The settings of a section that has defaults; those that are tables have a section of their own."""
    kind = type(section)
    hints = typing.get_type_hints(kind)
    for name in (field.name for field in dataclasses.fields(section)):
        default = getattr(section, name)
        if f"{prefix}{name}" not in TABLES and not dataclasses.is_dataclass(default):
            sentence = sentence_of(kind, name)
            yield Setting(
                name, kind_of(hints[name]), toml_value(default), bounds.get(f"{prefix}{name}", ""), sentence
            )


def sections_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A configuration and all sections in it, by their names with a dot behind."""
    yield prefix, config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from sections_of(value, f"{prefix}{field.name}.")


def files() -> Iterator[tuple[str, str, list[tuple[str, Any]], dict[str, str]]]:
    """Each kind of file: its title, a sentence, its sections, and their bounds."""
    run = [
        ("", BOUNDS),
        ("data.", data_config.BOUNDS),
        ("reward.", combine.BOUNDS + combine.THRESHOLD_BOUNDS),
    ]
    corpora = [("data.corpora.NAME.", CorpusConfig())]
    yield "A run", "`semantic-grpo run --config FILE`", [*sections_of(Config()), *corpora], bounds_of(run)
    parts = [
        ("", Study()),
        ("arms.NAME.", ArmConfig("")),
        ("transfer.", TransferConfig()),
        ("sequence.", SequenceConfig()),
    ]
    yield "A study", "`semantic-grpo study --config FILE` ([study.md](study.md))", parts, {}
    student = list(sections_of(distil_config.DistilConfig()))
    encoder = "`semantic-grpo distil --config FILE` ([reward.md](reward.md))"
    yield "An encoder", encoder, student, bounds_of([("", distil_config.BOUNDS)])


def page() -> str:
    """The page in Markdown."""
    lines = [HEAD]
    for title, sentence, sections, bounds in files():
        lines += [f"## {title}", "", f"{sentence}.", ""]
        for prefix, section in sections:
            rows = list(rows_of(section, prefix, bounds))
            heading = f"[{prefix.rstrip('.')}]" if prefix else "Above all sections"
            lines += [
                f"### {heading}",
                "",
                "| setting | type | default | bounds | what it does |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| `{row.name}` | {row.kind} | `{row.default}` | {row.bounds} | {row.sentence} |"
                for row in rows
            ]
            lines.append("")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m grpo.settings", description="Print every setting.")
    parser.parse_args(argv)
    print(page(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
