"""A report document as Markdown: the same tables and texts as the page, without pictures."""

import re

from data.script import isolate
from eval.report.blocks import (
    Block,
    Document,
    Figure,
    Sample,
    Samples,
    Section,
    Sentences,
    Table,
    Text,
    number_table,
)

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def markdown(document: Document) -> str:
    """The whole report, in the order of the page."""
    figure_tables = [document.picture.table] if document.picture and document.picture.table else []
    parts = [
        f"# {escape(document.title)}",
        f"**{escape(document.verdict)}** {' '.join(map(escape, document.reasons))}".strip(),
        *map(top_table, [number_table(document.numbers)] if document.numbers else []),
        *map(list_markdown, filter(None, [document.alarms])),
        *map(top_table, figure_tables),
        *map(list_markdown, filter(None, [document.gaps])),
        *map(section_markdown, filter(has_text, document.sections)),
    ]
    return "\n\n".join(parts) + "\n"


def list_markdown(sentences: tuple[str, ...]) -> str:
    """A list of sentences."""
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def has_text(section: Section) -> bool:
    """Whether a section has more than pictures."""
    return not all(isinstance(block, Figure) for block in section.blocks)


def section_markdown(section: Section) -> str:
    """A heading and its blocks; pictures are left to the page."""
    blocks = [block_markdown(block) for block in section.blocks if not isinstance(block, Figure)]
    return "\n\n".join([f"## {escape(section.title)}", *blocks])


def block_markdown(block: Block) -> str:
    """One block that is no picture."""
    if isinstance(block, Text):
        return escape(block.text)
    if isinstance(block, Sentences):
        return list_markdown(block.texts)
    if isinstance(block, Table):
        return table_markdown(block)
    if isinstance(block, Samples):
        return samples_markdown(block)
    raise TypeError(f"a {type(block).__name__} has no Markdown form")


def top_table(table: Table) -> str:
    """A table outside of the sections of a page: its title is a heading like theirs."""
    return table_markdown(table, level=2)


def table_markdown(table: Table, level: int = 3) -> str:
    """A pipe table with its title above, as a heading of `level`, and its notes below."""
    rule = "| " + " | ".join(["---", *["---:"] * (len(table.header) - 1)]) + " |"
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in (table.header, *table.rows)]
    return "\n".join(
        [
            f"{'#' * level} {escape(table.title)}",
            "",
            lines[0],
            rule,
            *lines[1:],
            *(f"\n{escape(note)}" for note in table.notes),
        ]
    )


def samples_markdown(block: Samples) -> str:
    """Test items as lists below the headings of their first groups."""
    groups = dict.fromkeys(item.groups[:1] for item in block.items)
    parts = []
    for group in groups:
        parts += [f"### {escape(name)}\n" for name in group]
        parts += [sample_markdown(item) for item in block.items if item.groups[:1] == group]
    return "\n".join(parts)


def sample_markdown(sample: Sample) -> str:
    """One test item as a list."""
    parts = [f"  - {escape(label)}: {isolate(escape(text)) or '(empty)'}" for label, _, text in sample.parts]
    return "\n".join([f"- {escape(sample.title)}", *parts, f"  - {escape(sample.facts)}"])
