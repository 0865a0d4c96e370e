"""Test items as cards of a page: each text with its language, the differences of outputs marked, filters by group.

The filters are radio buttons that page.css reads, so they work without a script.
"""

from html import escape

from data.script import is_right_to_left, parse_tag
from eval.report.blocks import Sample, Samples
from eval.report.marks import new_runs

LANGUAGE_TAGS = {"zh": "zh-Hans"}
LEGEND = "Marked: <del>only in the first output</del> <ins>only in the later output</ins>"


def samples_html(block: Samples) -> str:
    """The filters, if there is something to choose, and the cards."""
    groups = list(dict.fromkeys(group for item in block.items for group in item.groups))
    cards = "".join(sample_html(item, groups) for item in block.items)
    has_marks = any(item.base for item in block.items)
    legend = f'<p class="note">{LEGEND}</p>' if has_marks else ""
    filters = filters_html(block, groups) if len(groups) > 1 else ""
    return f'<div class="samples">{filters}{legend}<div class="grid cards">{cards}</div></div>'


def filters_html(block: Samples, groups: list[str]) -> str:
    """A radio button for each group, the first one chosen, and one for all."""
    counts = {group: sum(group in item.groups for item in block.items) for group in groups}
    choices = [*((f"g{number}", group) for number, group in enumerate(groups)), ("all", "All")]
    buttons = "".join(
        f'<label><input type="radio" name="group" value="{key}"{" checked" if number == 0 else ""}>'
        f"<span>{escape(name)} ({counts.get(name, len(block.items))})</span></label>"
        for number, (key, name) in enumerate(choices)
    )
    return f'<fieldset class="filters"><legend>Show</legend>{buttons}</fieldset>'


def sample_html(sample: Sample, groups: list[str]) -> str:
    """One test item as a card."""
    classes = " ".join(["sample", *(f"g{groups.index(group)}" for group in sample.groups)])
    parts = "".join(
        f"<dt>{escape(label)}</dt><dd {attributes(language)}>{text}</dd>"
        for (label, language, _), text in zip(sample.parts, marked_texts(sample), strict=True)
    )
    return (
        f'<article class="{classes}"><h3>{escape(sample.title)}</h3><dl>{parts}</dl>'
        f'<p class="note">{escape(sample.facts)}</p></article>'
    )


def marked_texts(sample: Sample) -> list[str]:
    """The HTML of each part: those behind the base show what it lacks, and it shows what the only one behind it lacks."""
    place = next(
        (place for place, part in enumerate(sample.parts) if part[0] == sample.base), len(sample.parts)
    )
    later = sample.parts[place + 1 :]
    texts = [plain(text) for _, _, text in sample.parts[: place + 1]]
    if len(later) == 1:
        _, language, text = sample.parts[place]
        texts[place] = with_marks(later[0][2], text, language, "del")
    return [
        *texts,
        *(with_marks(sample.parts[place][2], text, language, "ins") for _, language, text in later),
    ]


def plain(text: str) -> str:
    """A text as it is."""
    return escape(text) or "(empty)"


def with_marks(other: str, text: str, language: str, tag: str) -> str:
    """`text` with what `other` lacks inside of a tag."""
    runs = new_runs(other, text, language)
    parts = (f"<{tag}>{escape(run)}</{tag}>" if is_new else escape(run) for run, is_new in runs)
    return "".join(parts) or "(empty)"


def attributes(language: str) -> str:
    """Language and direction of a text; where the language has none of its own, the text's first letter decides."""
    direction = "rtl" if is_right_to_left(language) else "auto"
    return f'lang="{escape(html_tag(language))}" dir="{direction}"'


def html_tag(language: str) -> str:
    """The tag of a language as HTML takes it, such as ug-Arab for uig_Arab."""
    tag = parse_tag(language)
    script = tag.script if "+" not in tag.script else ""
    return LANGUAGE_TAGS.get(language) or "-".join(filter(None, (tag.language, script, tag.region)))
