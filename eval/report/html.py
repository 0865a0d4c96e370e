"""A report document as one self-contained HTML page: inline CSS and SVG, no script, nothing fetched; light
and dark, phone and desktop.

All text passes `escape`; only the pictures, which hold no user text, are inserted as they are.
"""

from html import escape

from data.script import is_right_to_left, parse_tag
from eval.report.blocks import Block, Document, Figure, Sample, Section, Table, Text

LANGUAGE_TAGS = {"zh": "zh-Hans"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
CSS = """
:root { color-scheme: light dark; --ground: #fdfdfc; --ink: #1d2430; --soft: #5b6575; --line: #d9dde3;
  --card: #f3f5f7; --mark: #1f6fb8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181e; --ink: #e4e8ee; --soft: #9aa5b4; --line: #303843; --card: #1c222a;
  --mark: #6db3f2; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 80rem; background: var(--ground);
  color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line);
  padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 62rem; }
.verdict { background: var(--card); border-left: 4px solid var(--mark); padding: .8rem 1rem;
  border-radius: 4px; }
.alarms { border-left: 4px solid #c8372d; background: var(--card); padding: .8rem 1rem .8rem 2rem;
  border-radius: 4px; }
.gaps { color: var(--soft); }
.note { color: var(--soft); font-size: .82rem; margin: .3rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
table.settings td { white-space: normal; overflow-wrap: anywhere; text-align: left; }
table.settings th { text-align: left; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0; }
figcaption { font-size: .85rem; color: var(--soft); }
svg { width: 100%; height: auto; display: block; color: var(--ink); }
.sample { background: var(--card); border-radius: 6px; padding: .7rem .9rem; }
.sample dt { color: var(--soft); font-size: .78rem; margin-top: .45rem; }
.sample dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
.sample dl { margin: .2rem 0; }
:lang(bo), :lang(dz) { line-height: 1.9;
  font-family: "Noto Serif Tibetan", Kailasa, Jomolhari, "Microsoft Himalaya", "Tibetan Machine Uni", serif; }
details summary { cursor: pointer; }
details summary h2 { display: inline-block; border: 0; margin: 1rem 0 .4rem; }
@media (max-width: 34rem) { body { padding: .6rem .7rem 3rem; font-size: 15px; } table { font-size: .8rem; } }
@media print { .scroll { overflow: visible; } }
"""


def html_page(document: Document) -> str:
    """The whole page."""
    title = escape(document.title)
    sections = "\n".join(map(section_html, document.sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}</title>
<style>{CSS}</style>
</head>
<body>
<h1>{title}</h1>
<p class="verdict">{escape(document.verdict)}</p>
{list_html("alarms", document.alarms)}
{list_html("gaps", document.gaps)}
{sections}
</body>
</html>
"""


def list_html(kind: str, sentences: tuple[str, ...]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def section_html(section: Section) -> str:
    """A heading and its blocks."""
    heading = f"<h2>{escape(section.title)}</h2>"
    body = "\n".join(blocks_html(section.blocks))
    if section.is_folded:
        return f"<details><summary>{heading}</summary>\n{body}\n</details>"
    return f"<section>\n{heading}\n{body}\n</section>"


def blocks_html(blocks: tuple[Block, ...]) -> list[str]:
    """The blocks' HTML; pictures and samples that follow each other share a grid."""
    parts: list[str] = []
    is_open = False
    for block in blocks:
        in_grid = isinstance(block, Figure | Sample)
        if in_grid != is_open:
            parts.append('<div class="grid">' if in_grid else "</div>")
            is_open = in_grid
        parts.append(block_html(block))
    return [*parts, "</div>"] if is_open else parts


def block_html(block: Block) -> str:
    """One block."""
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Table):
        return table_html(block)
    if isinstance(block, Figure):
        return f"<figure><figcaption>{escape(block.title)}</figcaption>{block.svg}</figure>"
    return sample_html(block)


def table_html(table: Table) -> str:
    """A table in a box that scrolls sideways, so that the page need not."""
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    kind = ' class="settings"' if table.header == ("Key", "Value") else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<h3>{escape(table.title)}</h3>\n<div class="scroll" '
        f'tabindex="0"><table{kind}><thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n{notes}"
    )


def html_tag(language: str) -> str:
    """The tag of a language as HTML takes it, such as ug-Arab for uig_Arab."""
    tag = parse_tag(language)
    script = tag.script if "+" not in tag.script else ""
    return LANGUAGE_TAGS.get(language) or "-".join(filter(None, (tag.language, script, tag.region)))


def direction_of(language: str) -> str:
    """The attribute of a text that runs from right to left, or ""."""
    return ' dir="rtl"' if is_right_to_left(language) else ""


def sample_html(sample: Sample) -> str:
    """One test item as a card; each text has its language, so that the browser takes the right font."""
    parts = "".join(
        f"<dt>{escape(label)}</dt><dd "
        f'lang="{escape(html_tag(language))}"{direction_of(language)}>{escape(text) or "(empty)"}</dd>'
        for label, language, text in sample.parts
    )
    title, facts = (f'<div class="note">{escape(text)}</div>' for text in (sample.title, sample.facts))
    return f'<article class="sample">{title}<dl>{parts}</dl>{facts}</article>'
