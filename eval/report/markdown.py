"""A report document as Markdown: the same tables and texts as the page, without pictures."""

import re

from data.script import isolate
from eval.report.blocks import Block, Document, Figure, Sample, Section, Table, Text

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def markdown(document: Document) -> str:
    """The whole report."""
    lists = [
        "\n".join(f"- {escape(text)}" for text in texts)
        for texts in (document.alarms, document.gaps)
        if texts
    ]
    parts = [
        f"# {escape(document.title)}",
        escape(document.verdict),
        *lists,
        *map(section_markdown, document.sections),
    ]
    return "\n\n".join(parts) + "\n"


def section_markdown(section: Section) -> str:
    """A heading and its blocks; pictures are left to the page."""
    blocks = [block_markdown(block) for block in section.blocks if not isinstance(block, Figure)]
    return "\n\n".join([f"## {escape(section.title)}", *blocks])


def block_markdown(block: Block) -> str:
    """One block that is no picture."""
    if isinstance(block, Text):
        return escape(block.text)
    if isinstance(block, Table):
        return table_markdown(block)
    if isinstance(block, Sample):
        return sample_markdown(block)
    raise TypeError(f"a {type(block).__name__} has no Markdown form")


def table_markdown(table: Table) -> str:
    """A pipe table with its title above and its notes below."""
    rule = "| " + " | ".join(["---", *["---:"] * (len(table.header) - 1)]) + " |"
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in (table.header, *table.rows)]
    return "\n".join(
        [
            f"### {escape(table.title)}",
            "",
            lines[0],
            rule,
            *lines[1:],
            *(f"\n{escape(note)}" for note in table.notes),
        ]
    )


def sample_markdown(sample: Sample) -> str:
    """One test item as a list."""
    parts = [f"  - {escape(label)}: {isolate(escape(text)) or '(empty)'}" for label, _, text in sample.parts]
    return "\n".join([f"- {escape(sample.title)}", *parts, f"  - {escape(sample.facts)}"])
