"""A report document as one self-contained HTML page: inline style, script and SVG, nothing fetched; light and dark,
phone, desktop and paper.

All text passes `escape`; only the pictures, which escape their own texts, are inserted as they are. The browser runs
the page's own script by its hash and no other.
"""

import re
from html import escape

from eval.report.blocks import Block, Document, Figure, Samples, Section, Sentences, Table, Text
from eval.report.cards import samples_html
from eval.report.first_screen import first_screen
from eval.report.page_files import CSS, POLICY, SCRIPT, page_head


def html_page(document: Document) -> str:
    """The whole page."""
    title = escape(document.title)
    sections = "\n".join(map(section_html, document.sections))
    return f"""{page_head(f"{title}: {escape(document.verdict)}", POLICY, CSS)}
<body>
<a class="skip" href="#sections">Skip to the tables</a>
<main>
{first_screen(document, picture_html)}
{contents(document.sections)}
<div id="sections">
{sections}
</div>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def contents(sections: tuple[Section, ...]) -> str:
    """Links to the sections."""
    links = "".join(
        f'<li><a href="#{anchor(section.title)}">{escape(section.title)}</a></li>' for section in sections
    )
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if links else ""


def anchor(title: str) -> str:
    """The id of a section."""
    return "s-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def section_html(section: Section) -> str:
    """A heading and its blocks."""
    heading = f"<h2>{escape(section.title)}</h2>"
    body = "\n".join(blocks_html(section.blocks))
    place = f'id="{anchor(section.title)}"'
    if section.is_folded:
        return f"<details {place}><summary>{heading}</summary>\n{body}\n</details>"
    return f"<section {place}>\n{heading}\n{body}\n</section>"


def blocks_html(blocks: tuple[Block, ...]) -> list[str]:
    """The blocks' HTML; pictures that follow each other share a grid."""
    parts: list[str] = []
    is_open = False
    for block in blocks:
        in_grid = isinstance(block, Figure)
        if in_grid != is_open:
            parts.append('<div class="grid">' if in_grid else "</div>")
            is_open = in_grid
        parts.append(block_html(block))
    return [*parts, "</div>"] if is_open else parts


def block_html(block: Block) -> str:
    """One block."""
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Sentences):
        return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in block.texts)}</ul>"
    if isinstance(block, Table):
        return table_html(block)
    if isinstance(block, Samples):
        return samples_html(block)
    return picture_html(block)


def picture_html(figure: Figure) -> str:
    """A picture, and its numbers behind a fold."""
    numbers = (
        f"<details><summary>As a table</summary>{table_html(figure.table)}</details>" if figure.table else ""
    )
    return f"<figure><figcaption>{escape(figure.title)}</figcaption>{figure.drawing}{numbers}</figure>"


def table_html(table: Table) -> str:
    """A table in a box that scrolls sideways, so that the page need not; its notes behind a fold."""
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(map(row_html, table.rows))
    kind = ' class="settings"' if table.header == ("Key", "Value") else ""
    title = escape(table.title)
    items = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    notes = f'<details class="notes"><summary>How it was measured</summary><ul>{items}</ul></details>'
    return (
        f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table{kind}>'
        f"<caption>{title}</caption>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
        f"{notes if table.notes else ''}"
    )


def row_html(row: tuple[str, ...]) -> str:
    """The first cell heads the row."""
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
    return f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>'
