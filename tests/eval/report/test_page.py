"""The structure of a page, without a browser: order, headings, tables, labels, languages, contrast, short texts."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from invented_run import write_run
from page_reader import Page

from eval.report.blocks import Document, Sample, Samples, Section
from eval.report.html import html_page
from eval.report.page_files import CSS, SCRIPT
from eval.report.scatter import Line, Mark, scatter
from eval.report.write import write_report

WORDS = 45  # of a paragraph, an item of a list or a note
TEXT = 4.5  # WCAG 2.2, 1.4.3
LINE = 3.0  # 1.4.11


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    page, _, _ = write_report(write_run(tmp_path_factory.mktemp("run")))
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_answer_numbers_and_picture_come_before_any_table_and_samples_before_slices(text: str) -> None:
    signs = ('class="answer"', 'class="numbers"', "<svg viewBox", "<table", "GRPO minus warm start</h2>")
    more = ("<h2>General competence", "<h2>Samples", "<h2>Training curves", "<h2>By language and origin")
    places = [text.index(sign, text.index("<body>")) for sign in (*signs, *more)]
    assert places == sorted(places)


def test_headings_go_down_by_one_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tables_have_captions_scopes_and_a_box_that_the_keyboard_reaches(page: Page) -> None:
    boxes = [one for one in page.all("div") if one.get("class") == "scroll"]
    tables = page.all("table")
    assert len(tables) == len(page.all("caption")) == len(boxes) > 10
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    assert all(one["scope"] in ("row", "col") for one in page.all("th"))
    assert not [attributes for attributes in page.all("td") if "scope" in attributes]


def test_links_lead_to_sections_and_pictures_say_what_they_show(page: Page) -> None:
    ids = page.values("id")
    links = page.values("src", "href", "xlink:href", "srcset")
    assert len(ids) == len(set(ids)) and set(links) == {f"#{name}" for name in ids}
    pictures = [one for one in page.all("svg") if one.get("aria-hidden") != "true"]
    assert len(pictures) > 10 and all(one["role"] == "img" and one["aria-label"] for one in pictures)
    assert page.all("html") == [{"lang": "en"}]


def test_signatures_are_folded_and_no_text_is_a_wall(text: str, page: Page) -> None:
    for sign in ("tok:zh", "encoder:invented"):
        start = text.index(sign)
        assert text.rindex("<details", 0, start) > text.rindex("</details>", 0, start)
    prose = [one for one in page.texts if one.strip()]
    assert len(prose) > 40 and max(len(one.split()) for one in prose) <= WORDS


def test_every_text_of_a_sample_has_language_and_direction(page: Page) -> None:
    texts = page.all("dd")
    assert len(texts) > 100
    assert {one["lang"] for one in texts} == {"bo", "dz", "zh-Hans"} and {one["dir"] for one in texts} == {
        "auto"
    }


def test_filters_are_labelled_and_count_their_samples(text: str, page: Page) -> None:
    labels = re.findall(
        r"<label><input type=\"radio\" name=\"group\" value=\"(\w+)\"( checked)?><span>(.*?) \((\d+)\)", text
    )
    cards = [(one["class"] or "").split() for one in page.all("article")]
    assert [key for key, *_ in labels] == ["g0", "g1", "g2", "g3", "all"]
    assert [bool(is_chosen) for _, is_chosen, *_ in labels] == [True, False, False, False, False]
    for key, _, _, count in labels:
        assert int(count) == (len(cards) if key == "all" else sum(key in classes for classes in cards))
        assert key == "all" or f'[value="{key}"]:checked) .sample:not(.{key})' in CSS
    assert "<fieldset" in text and "<legend>Show</legend>" in text


def test_differences_of_outputs_are_marked_and_the_texts_stay_whole() -> None:
    parts = (
        ("Source", "en", "x"),
        ("A", "bo", "\u0f40\u0f0b\u0f41\u0f0b<"),
        ("B", "bo", "\u0f40\u0f0b\u0f42\u0f0d"),
    )
    sample = Sample("t", parts, "f", (), "A")
    text = html_page(Document("t", "v", (), (Section("s", (Samples((sample,)),)),)))
    assert "\u0f40\u0f0b<del>\u0f41\u0f0b&lt;</del></dd>" in text
    assert "\u0f40\u0f0b<ins>\u0f42\u0f0d</ins></dd>" in text and '<fieldset class="filters"' not in text


def test_arms_that_look_like_tags_are_escaped_in_pictures() -> None:
    mark = Mark(1.0, 2.0, ("<b>", "2", "1"), "circle", name="<i>")
    drawing = scatter("<t>", [Line("<l>", "c0", (mark,))], ("a", "<y>", "<x>")).drawing
    assert not re.search(r"<[btlixy]>", drawing) and drawing.count("&lt;") >= 6


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#fff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_texts_and_lines_stand_out_from_their_grounds(scheme: str) -> None:
    first = colours(CSS[: CSS.index("@media")])
    dark = colours(CSS[CSS.index("scheme: dark") : CSS.index("* { box-sizing")])
    paper = colours(CSS[CSS.index("@media print") :])
    own = first | {"light": {}, "dark": dark, "print": paper}[scheme]
    for ink in ("ink", "soft", "mark", "good", "bad", "caution"):
        for ground in ("ground", "card"):
            assert contrast(own[ink], own[ground]) >= TEXT, (ink, ground)
    for ground in ("add", "drop"):
        assert contrast(own["ink"], own[ground]) >= TEXT
    for sign in ("soft", "good", "bad", "caution", "mark"):
        assert contrast(own["ground"], own[sign]) >= TEXT  # a sign and a chosen filter are inverse
    for line in (f"c{number}" for number in range(8)):
        assert contrast(own[line], own["ground"]) >= LINE, line
    assert scheme != "dark" or set(dark) == set(first)


def test_style_and_script_are_small_and_fetch_nothing() -> None:
    assert len(CSS) < 12_000 and len(SCRIPT) < 3_000
    assert not re.search(r"url\(|@import|fetch|XMLHttp|https?:(?!//www\.w3)", CSS + SCRIPT)
    assert "prefers-color-scheme: dark" in CSS and "@media print" in CSS and ":focus-visible" in CSS


def test_a_report_says_what_is_lacking_behind_a_fold(tmp_path: Path) -> None:
    run = write_run(tmp_path, systems=("untouched", "warm_start"))
    text = write_report(run)[0].read_text(encoding="utf-8")
    (count,) = re.findall(r"<summary>Not in this report \((\d+)\)</summary>", text)
    assert int(count) == text.split('<ul class="gaps">')[1].split("</ul>")[0].count("<li>") > 1
