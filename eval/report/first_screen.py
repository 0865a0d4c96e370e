"""The first screen of a page: the answer, why, four numbers, the picture, what went wrong and what is lacking."""

from collections.abc import Callable, Sequence
from html import escape

from eval.report.blocks import WAYS, Document, Figure, Number

SIGNS = {"good": "\u2713", "caution": "!", "bad": "\u2715", "": "?"}  # of a document's tone


def first_screen(document: Document, draw: Callable[[Figure], str]) -> str:
    """All of it; `draw` gives a picture's HTML."""
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in document.reasons)
    cards = "".join(map(card_html, document.numbers))
    numbers = f'<h2 class="unseen">The main numbers</h2><ul class="numbers">{cards}</ul>' if cards else ""
    picture = draw(document.picture) if document.picture else ""
    return (
        f'<header class="top"><div>\n<h1>{escape(document.title)}</h1>\n'
        f'<div class="verdict {document.tone}"><span class="sign" aria-hidden="true">{SIGNS[document.tone]}</span>'
        f'<div><p class="answer">{escape(document.verdict)}</p>{reasons}</div></div>\n'
        f"{numbers}{list_html('alarms', document.alarms)}</div>\n{picture}</header>\n{gaps_html(document.gaps)}"
    )


def card_html(number: Number) -> str:
    """One number with its arrow; the reading is in words as well as in colour."""
    kind = {"better": "good", "worse": "bad"}.get(number.reading, "")
    return (
        f'<li class="{kind}"><span class="label">{escape(number.label)}</span>'
        f'<strong><span aria-hidden="true">{WAYS[number.way]}</span> {escape(number.change)}</strong>'
        f'<span class="interval">{escape(number.interval)}</span>'
        f'<span class="reading">{escape(number.against)}: {escape(number.reading)}</span>'
        f'<span class="values">{escape(number.values)}</span></li>'
    )


def list_html(kind: str, sentences: Sequence[str]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def gaps_html(gaps: Sequence[str]) -> str:
    """What is lacking, behind a fold that says how much."""
    title = f"<summary>Not in this report ({len(gaps)})</summary>"
    return f"<details>{title}{list_html('gaps', gaps)}</details>" if gaps else ""
