"""Scales, ticks and the frame of a picture as SVG, whose colours and fonts are in page.css."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from eval.report.wording import MINUS

LETTER = 7.0  # units of a picture that a figure of a tick label takes
ROOM = 0.06  # of the range, free at each end of an axis


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` -> units of a picture from `start` to `end`.

    Beyond `bend` (of either sign) a value counts by its logarithm, so that one far value does not squeeze the others.
    """

    low: float
    high: float
    start: float
    end: float
    bend: float = math.inf

    def __call__(self, value: float) -> float:
        low, high, own = (self._straight(number) for number in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (own - low) / (high - low), 2)

    def _straight(self, value: float) -> float:
        if abs(value) <= self.bend:
            return value
        return math.copysign(self.bend * (1 + math.log(abs(value) / self.bend)), value)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value with room at both ends; equal ones get a range of their own."""
    low, high = min(values), max(values)
    room = ROOM * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers in a range, in steps of 1, 2 or 5 times a power of ten.

    >>> ticks(-0.02, 0.31)
    [0.0, 0.1, 0.2, 0.3]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.7)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Ticks as text, all with the digits that their step needs.

    >>> tick_texts([0.0, 0.05, 0.1])
    ['0.00', '0.05', '0.10']
    """
    steps = [abs(b - a) for a, b in pairwise(values)] or [abs(values[0]) or 1.0]
    digits = max(0, -math.floor(math.log10(min(steps)) + 1e-9))
    return [f"{value:.{digits}f}".replace("-", MINUS) for value in values]


def frame(x: Scale, y: Scale, across: Sequence[float], up: Sequence[float], x_label: str) -> str:
    """Grid lines, tick labels and the label of the lower axis; `x` runs to the right, `y` upwards."""
    lines = [f'<path class="grid" d="M{x.start} {y(value)}H{x.end}"/>' for value in up]
    labels = [
        f'<text class="left" x="{x.start - 5}" y="{y(value) + 4:.2f}">{text}</text>'
        for value, text in zip(up, tick_texts(up), strict=True)
    ]
    below = [
        f'<text class="below" x="{x(value)}" y="{y.start + 15}">{value:g}</text>'.replace(">-", f">{MINUS}")
        for value in across
    ]
    middle = (x.start + x.end) / 2
    label = f'<text class="below axis" x="{middle:.1f}" y="{y.start + 31}">{escape(x_label)}</text>'
    return "".join([*lines, *labels, *below, label])


def left_margin(up: Sequence[float]) -> float:
    """The room that the tick labels of the left axis take."""
    return 10 + LETTER * max(map(len, tick_texts(up)))
