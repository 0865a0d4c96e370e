"""The pictures of a study: gain against tax or cost, one point per checkpoint, one line per arm; tax against KL."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.report.blocks import Figure
from eval.report.scatter import Line, Mark, scatter
from eval.report.wording import METRIC, TAX, plain_number
from eval.run_folder import Json
from eval.study.cells import label, with_interval
from eval.study.points import UNTOUCHED, WARM_START
from eval.study.roles import INTERPOLATED
from eval.study.sentences import COST_NAMES

COLOURS = {  # role -> class of page.css
    "main": "c0",
    "sft": "c1",
    "best_of_group": "c2",
    "recovery": "c3",
    "self_distillation": "c4",
    "budget": "c5",
    "control": "c7",
}
OTHER = "c6"
STARTS = {UNTOUCHED: "cross", WARM_START: "square"}
SHAPES = ("circle", "diamond", "up", "down", "plus")
DASHES = ("", "6 3", "2 3", "7 3 2 3")
MANY_BUDGETS = 5  # a tax above so many budgets would squeeze the other arms on a linear axis
FIT_POINTS = 40


@dataclass(frozen=True)
class Across:
    """What a picture has from left to right: its label, and of a checkpoint the value with its interval, and as text."""

    label: str
    value: Callable[[Json], Json]
    text: Callable[[Json], str]
    budget: float | None = None


def tax_across(budget: float) -> Across:
    return Across(
        "tax: rise of the loss on general text, nats per token",
        lambda row: dict(row["tax"]),
        lambda row: with_interval(TAX, row["tax"]),
        budget,
    )


def cost_across(axis: str) -> Across:
    def value(row: Json) -> Json:
        return dict.fromkeys(("value", "low", "high"), row["path_cost"][axis])

    name = f"{COST_NAMES[axis]}, from the untouched model on"
    return Across(name, value, lambda row: f"{row['path_cost'][axis]:,.0f}")


def pareto_figures(figures: Json) -> list[Figure]:
    """Gain against tax: arms and warm start, and the same with the untouched model, which usually lies far away; and
    gain against each cost.

    No picture without gains.
    """
    metric = figures["target"]
    rows = [row for row in figures["checkpoints"] if row["gains"][metric] is not None]
    trained_rows = [row for row in rows if row["kind"] != UNTOUCHED]
    if not any(row["kind"] not in STARTS for row in rows):
        return []
    name = METRIC[metric].label
    tax = tax_across(figures["budget"])
    pictures = [pareto_figure(f"Gain in {name} over the warm start against tax", trained_rows, metric, tax)]
    if len(trained_rows) < len(rows):
        title = f"The same with the untouched model: gain in {name} against tax"
        pictures.append(pareto_figure(title, rows, metric, tax))
    rows_with_cost = [
        row for row in trained_rows if row["path_cost"] is not None and row["kind"] != INTERPOLATED
    ]
    for axis, words in COST_NAMES.items() if rows_with_cost else ():
        title = f"Gain in {name} over the warm start against {words}"
        pictures.append(pareto_figure(title, rows_with_cost, metric, cost_across(axis)))
    return pictures


def pareto_figure(title: str, rows: Sequence[Json], metric: str, across: Across) -> Figure:
    """One picture; crosses are 95 % intervals of the last checkpoint of each arm, a vertical line is the budget."""
    header = ("Checkpoint", f"gain in {METRIC[metric].label}", across.label)
    lines = [*arm_lines(rows, metric, across), *start_lines(rows, metric, across)]
    return scatter(
        title,
        lines,
        header,
        bend_of([row["tax"]["value"] for row in rows], across.budget or 0.0),
        across.budget,
    )


def bend_of(taxes: Sequence[float], budget: float) -> float:
    """Where the lower axis becomes logarithmic: at the budget, if a tax lies far above it."""
    return budget if max(taxes) > MANY_BUDGETS * budget > 0 else math.inf


def start_lines(rows: Sequence[Json], metric: str, across: Across) -> list[Line]:
    """Untouched model and warm start, a point each."""
    return [
        Line(row["kind"].replace("_", " "), "ink", (mark(row, metric, across, STARTS[row["kind"]]),))
        for row in rows
        if row["kind"] in STARTS
    ]


def arm_lines(rows: Sequence[Json], metric: str, across: Across) -> list[Line]:
    """The line of every arm through its checkpoints, from its start on where that is shown."""
    starts = {row["arm"]: row for row in rows}  # of each arm the last
    lines = []
    for number, arm in enumerate(dict.fromkeys(row["arm"] for row in rows if row["kind"] not in STARTS)):
        own = [row for row in rows if row["arm"] == arm]
        start = None if own[0]["kind"] == INTERPOLATED else starts.get(own[0]["start"])
        shape = SHAPES[number % len(SHAPES)]
        marks = [mark(row, metric, across, shape, has_spans=row is own[-1]) for row in own]
        if start is not None:
            marks = [mark(start, metric, across, STARTS.get(start["kind"], shape)), *marks]
        colour = COLOURS.get(own[-1]["role"], OTHER)
        lines.append(Line(arm, colour, tuple(marks), DASHES[number % len(DASHES)]))
    return lines


def mark(row: Json, metric: str, across: Across, shape: str, has_spans: bool = False) -> Mark:
    """A checkpoint."""
    place, gain = across.value(row), row["gains"][metric]
    cells = (label(row), with_interval(METRIC[metric], gain), across.text(row))
    across_ends, up_ends = ((one["low"], one["high"]) if has_spans else None for one in (place, gain))
    return Mark(place["value"], gain["value"], cells, shape, across_ends, up_ends)


def razor_pictures(figures: Json) -> list[Figure]:
    """Tax against KL(policy || untouched) on task prompts, one dot per checkpoint, with the fitted curves."""
    razor = figures["razor"]
    if razor is None:
        return []
    points = [
        Mark(kl, tax, (str(number), TAX.value(tax), plain_number(kl)), SHAPES[0])
        for number, (kl, tax) in enumerate(zip(razor["kl"], razor["tax"], strict=True), 1)
    ]
    places = np.linspace(min(razor["kl"]), max(razor["kl"]), FIT_POINTS)
    lines = [Line("checkpoints and warm starts", OTHER, tuple(points), is_joined=False)]
    for dash, (name, fit) in zip(DASHES, razor["fits"].items(), strict=False):
        heights = np.polynomial.polynomial.polyval(places, fit["coefficients"])
        way = tuple(Mark(float(x), float(y), (), "") for x, y in zip(places, heights, strict=True))
        lines.append(Line(f"{name}, R\u00b2 {fit['value']:.2f}", "ink", way, dash))
    header = ("Point", "tax, nats per token", "KL(policy || untouched) on task prompts, nats per token")
    return [scatter("Tax against KL(policy || untouched) on task prompts", lines, header)]
