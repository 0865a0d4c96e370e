"""Scales, ticks, points and marks: numbers that can be computed by hand."""

import math
import re

import pytest

from eval.report.axes import Scale, limits, tick_texts, ticks
from eval.report.marks import changed_share, new_runs, units
from eval.report.plots import curve
from eval.report.samples import most_changed
from eval.report.scatter import Line, Mark, scatter

TIBETAN = "\u0f56\u0f62\u0f92\u0fb1\u0f51\u0f0b\u0f61\u0f72\u0f53\u0f0d \u0f40"


def test_a_scale_is_linear_up_to_its_bend_and_logarithmic_beyond() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(value) for value in (0, 2.5, 10)] == [100, 75, 0]
    bent = Scale(0.0, math.e, 0.0, 100.0, bend=1.0)  # 1 at the bend, 2 at e
    assert [bent(value) for value in (0, 0.5, 1, math.e)] == [0, 25, 50, 100]
    assert Scale(-math.e, math.e, 0, 100, bend=1.0)(-1) == 25


@pytest.mark.parametrize(
    ("low", "high", "expected", "texts"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.021, 0.043, [-0.02, 0, 0.02, 0.04], ["\u22120.02", "0.00", "0.02", "0.04"]),
        (3, 22, [5, 10, 15, 20], ["5", "10", "15", "20"]),
    ],
)
def test_ticks_are_round_numbers_in_the_range(
    low: float, high: float, expected: list[float], texts: list[str]
) -> None:
    assert ticks(low, high) == pytest.approx(expected) and tick_texts(ticks(low, high)) == texts


def test_equal_values_still_have_an_axis() -> None:
    assert limits([2.0, 2.0]) == (1.8, 2.2) and limits([0.0]) == (-1.0, 1.0)
    assert limits([0.0, 1.0]) == (-0.06, 1.06)


def test_a_picture_holds_every_point_and_its_table_names_each_once() -> None:
    start = Mark(0.0, 0.0, ("start", "0", "0"), "square")
    lines = [
        Line(name, "c0", (start, Mark(x, 1.0, (name, "1", str(x)), "circle", (x - 0.1, x + 0.1), (0.8, 1.2))))
        for name, x in (("a", 1.0), ("b", 30.0))
    ]
    figure = scatter("t", lines, ("point", "y", "x"), bend=0.5, limit=0.5)
    assert figure.table is not None
    assert figure.table.rows == (("start", "0", "0"), ("a", "1", "1.0"), ("b", "1", "30.0"))
    assert figure.drawing.count("<title>") == 4 and figure.drawing.count('class="span"') == 4
    labels = re.findall(r'class="below" x="[\d.]+" y="[\d.]+">([\d.]+)<', figure.drawing)
    assert labels == ["0", "0.25", "0.5", "1", "2.5", "5", "10", "25"]


def test_a_curve_holds_steps_and_values_for_its_pointer() -> None:
    figure = curve([0, 1, 2], [1.0, 3.0, 2.0], "Reward")
    assert 'data-steps="0 1 2" data-values="1 3 2"' in figure.drawing
    points = [
        tuple(map(float, point.split(",")))
        for point in re.findall(r'class="raw" points="([^"]+)"', figure.drawing)[0].split()
    ]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02) and y1 < y2 < y0
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.02)
    assert curve([5], [1.0], "One").drawing.count("polyline") == 2


@pytest.mark.parametrize(
    ("text", "language"),
    [(TIBETAN, "bo"), ("a  b\nc", "en"), ("\u5929\u5730", "zh"), ("", "zh"), (" x", "en")],
)
def test_units_join_to_their_text(text: str, language: str) -> None:
    assert "".join(units(text, language)) == text
    assert "".join(run for run, _ in new_runs("a", text, language)) == text


def test_no_stack_of_tibetan_is_broken() -> None:
    assert units(TIBETAN, "bo") == [
        "\u0f56\u0f62\u0f92\u0fb1\u0f51\u0f0b",
        "\u0f61\u0f72\u0f53\u0f0d ",
        "\u0f40",
    ]


def test_marks_show_what_is_new_in_words_or_characters() -> None:
    assert new_runs("the old dog", "the new dog", "en") == [("the ", False), ("new ", True), ("dog", False)]
    assert new_runs("\u5929\u5730", "\u5929\u4eba\u5730", "zh") == [
        ("\u5929", False),
        ("\u4eba", True),
        ("\u5730", False),
    ]
    assert new_runs("a b", "a\nb", "en") == [("a\nb", False)]


def test_the_most_changed_texts_come_first_and_equal_ones_never() -> None:
    assert changed_share("a b", "a b", "en") == 0 and changed_share("a b", "c d", "en") == 1
    assert changed_share("a b", "a c", "en") == 0.5 and changed_share("a b", "b a", "en") == 0
    assert most_changed({"x": 0.0, "y": 0.5, "z": 1.0}) == ["z", "y"]
