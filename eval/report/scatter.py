"""Draws lines of labelled points, such as gain against tax, as SVG with a legend in HTML.

A point's cells are its tooltip and its row in the table of the same numbers. The legend tells lines apart by shape and dashes as
well as by colour.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from eval.report.axes import Scale, frame, left_margin, limits, ticks
from eval.report.blocks import Figure, Table

WIDTH, HEIGHT = 390, 280
RIGHT, TOP, BOTTOM = 10, 24, 40
BUDGETS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)  # the ticks of a bent axis, in units of its bend
SHAPES = {  # of 9 by 9 units around 0
    "square": "M-4-4H4V4H-4Z",
    "circle": "M-4.5 0A4.5 4.5 0 1 1 4.5 0 4.5 4.5 0 1 1-4.5 0Z",
    "diamond": "M0-5.5L5 0 0 5.5-5 0Z",
    "up": "M0-5L5 4H-5Z",
    "down": "M0 5L5-4H-5Z",
    "cross": "M-4-4L4 4M4-4L-4 4",
    "plus": "M-5 0H5M0-5V5",
}


@dataclass(frozen=True)
class Mark:
    """A point. `cells` say what it is, then its numbers; an interval of None has no line.

    Without a shape it is only a place on its line.
    """

    x: float
    y: float
    cells: tuple[str, ...]
    shape: str
    across: tuple[float, float] | None = None
    up: tuple[float, float] | None = None
    name: str = ""  # written beside it


@dataclass(frozen=True)
class Line:
    """Points in order, joined or not. `colour` is a class of page.css, `dash` an SVG dash array."""

    name: str
    colour: str
    marks: tuple[Mark, ...]
    dash: str = ""
    is_joined: bool = True

    @property
    def has_way(self) -> bool:
        """Whether there is something to join."""
        return self.is_joined and len(self.marks) > 1


def scatter(
    title: str,
    lines: Sequence[Line],
    header: tuple[str, ...],
    bend: float = math.inf,
    limit: float | None = None,
) -> Figure:
    """The picture, its legend and its table, whose `header` names point, y and x.

    `limit` is a vertical line. Where a point lies beyond `bend`, the lower axis is logarithmic from there on.
    """
    rows = dict.fromkeys(mark.cells for line in lines for mark in line.marks if mark.shape)
    table = Table(title, header, tuple(rows))
    keys = "".join(f"<li>{key_svg(line)}{escape(line.name)}</li>" for line in lines)
    drawing = f'{drawing_svg(title, lines, header, bend, limit)}<ul class="legend">{keys}</ul>'
    return Figure(title, drawing, table)


def drawing_svg(
    title: str, lines: Sequence[Line], header: tuple[str, ...], bend: float, limit: float | None
) -> str:
    """The picture alone."""
    marks = [mark for line in lines for mark in line.marks]
    y_low, y_high = limits([value for mark in marks for value in (mark.y, *(mark.up or ()))])
    x, across = lower_axis(marks, bend, limit)
    up = ticks(y_low, y_high)
    x = replace(x, start=round(left_margin(up)))
    y = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<text class="axis" x="2" y="12">{escape(header[1])}</text>',
        frame(x, y, across, up, header[2]),
        *([] if limit is None else [f'<path class="limit" d="M{x(limit)} {y.start}V{y.end}"/>']),
        *(line_svg(line, x, y) for line in lines),
    ]
    label = f'role="img" aria-label="{escape(title)}"'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>{"".join(parts)}</svg>'


def lower_axis(marks: Sequence[Mark], bend: float, limit: float | None) -> tuple[Scale, list[float]]:
    """The scale of the lower axis and its ticks; intervals count only on a straight one."""
    values = [mark.x for mark in marks] + ([] if limit is None else [limit])
    if max(values) <= bend:
        low, high = limits([*values, *(end for mark in marks for end in mark.across or ())])
        return Scale(low, high, 0, WIDTH - RIGHT), ticks(low, high)
    low, high = min(0.0, *values) - bend / 4, 1.2 * max(values)
    return Scale(low, high, 0, WIDTH - RIGHT, bend), [tick * bend for tick in BUDGETS if tick * bend <= high]


def line_svg(line: Line, x: Scale, y: Scale) -> str:
    """The line, then the intervals, then the points with their labels."""
    way = " ".join(f"{x(mark.x)},{y(mark.y)}" for mark in line.marks)
    path = f'<polyline class="way" points="{way}"{dash(line)}/>' if line.has_way else ""
    spans = "".join(span for mark in line.marks for span in interval_paths(mark, x, y))
    return f'<g class="{line.colour}">{path}{spans}{"".join(mark_svg(mark, x, y) for mark in line.marks)}</g>'


def interval_paths(mark: Mark, x: Scale, y: Scale) -> Iterator[str]:
    """A thin line for each interval, cut where the frame ends."""
    if mark.across:
        low, high = (min(max(x(end), x.start), x.end) for end in mark.across)
        yield f'<path class="span" d="M{low} {y(mark.y)}H{high}"/>'
    if mark.up:
        low, high = (y(end) for end in mark.up)
        yield f'<path class="span" d="M{x(mark.x)} {low}V{high}"/>'


def mark_svg(mark: Mark, x: Scale, y: Scale) -> str:
    """The point with its tooltip, and its name on the side that has room."""
    if not mark.shape:
        return ""
    is_left = x(mark.x) > (x.start + x.end) / 2
    beside = f'x="{x(mark.x) + (-9 if is_left else 9):.2f}" y="{y(mark.y) - 7:.2f}"'
    name = (
        f'<text class="name{" left" if is_left else ""}" {beside}>{escape(mark.name)}</text>'
        if mark.name
        else ""
    )
    return (
        f'<g class="mark"><title>{escape(": ".join([mark.cells[0], ", ".join(mark.cells[1:])]))}</title>'
        f'<path d="{SHAPES[mark.shape]}" transform="translate({x(mark.x)} {y(mark.y)})"/></g>{name}'
    )


def key_svg(line: Line) -> str:
    """The line's sign in the legend of a page."""
    return f'<svg class="key" viewBox="0 0 26 12" aria-hidden="true">{key_shapes(line)}</svg>'


def key_shapes(line: Line) -> str:
    """The line's sign, of 26 by 12 units."""
    path = f'<polyline class="way" points="0,6 26,6"{dash(line)}/>' if line.has_way else ""
    shape = SHAPES.get(line.marks[-1].shape, "")
    return f'<g class="{line.colour}">{path}<g class="mark"><path d="{shape}" transform="translate(13 6)"/></g></g>'


def dash(line: Line) -> str:
    """The attribute of a line that is not drawn through."""
    return f' stroke-dasharray="{line.dash}"' if line.dash else ""
