"""Draws the Pareto pictures of a study: gain against tax or cost, one point per checkpoint, one line per arm.

As in the training curves (`eval.report.plots`), no display is needed and text has the page's colour. Names of
arms need no escaping; no other user text is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas

from eval.report.blocks import Figure
from eval.report.plots import INK, STYLE, svg_text
from eval.run_folder import Json
from eval.study.roles import INTERPOLATED
from eval.study.sentences import COST_NAMES, METRIC

COLOURS = {
    "main": "#2f86d2",
    "sft": "#d9772b",
    "best_of_group": "#3aa657",
    "recovery": "#c9a227",
    "self_distillation": "#1f9e9e",
    "budget": "#8d6fd1",
    "control": "#98a0ab",
}
OTHER = "#c2588f"
MARKERS = "osD^vP*X<>"
MANY_BUDGETS = 5  # a tax above so many budgets would squeeze the other arms on a linear axis
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Across:
    """What a picture has from left to right: its label, and of a checkpoint the value with its interval."""

    label: str
    value: Callable[[Json], Json]
    budget: float | None = None


def tax_across(budget: float) -> Across:
    return Across(
        "tax: rise of the loss on general text, nats per token", lambda row: dict(row["tax"]), budget
    )


def cost_across(axis: str) -> Across:
    def value(row: Json) -> Json:
        return dict.fromkeys(("value", "low", "high"), row["path_cost"][axis])

    return Across(f"{COST_NAMES[axis]}, from the untouched model on", value)


def pareto_figures(figures: Json) -> list[Figure]:
    """Gain against tax: arms and warm start, and the same with the untouched model, which usually lies far away; and
    gain against each cost.

    No picture without gains.
    """
    metric = figures["target"]
    rows = [row for row in figures["checkpoints"] if row["gains"][metric] is not None]
    trained_rows = [row for row in rows if row["kind"] != "untouched"]
    if not any(row["kind"] not in ("untouched", "warm_start") for row in rows):
        return []
    name = METRIC[metric].label
    tax = tax_across(figures["budget"])
    pictures = [pareto_figure(f"Gain in {name} over the warm start against tax", trained_rows, metric, tax)]
    if len(trained_rows) < len(rows):
        title = f"The same with the untouched model: gain in {name} against tax"
        pictures.append(pareto_figure(title, rows, metric, tax))
    known = [row for row in trained_rows if row["path_cost"] is not None and row["kind"] != INTERPOLATED]
    for axis, words in COST_NAMES.items() if known else ():
        title = f"Gain in {name} over the warm start against {words}"
        pictures.append(pareto_figure(title, known, metric, cost_across(axis)))
    return pictures


def pareto_figure(title: str, rows: Sequence[Json], metric: str, across: Across) -> Figure:
    """One picture; crosses are 95 % intervals of the last checkpoint of each arm, a vertical line is the budget."""
    style: Any = {**STYLE, "svg.hashsalt": title}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(7.4, 4.6), layout="constrained")
        axes = canvas.subplots()
        draw_arms(axes, rows, metric, across)
        draw_starts(axes, rows, metric, across)
        axes.set_xlabel(across.label)
        axes.set_ylabel("gain over the warm start")
        axes.grid(alpha=0.15, color=INK)
        axes.ticklabel_format(axis="y", useOffset=False)
        if across.budget is not None:
            axes.axvline(
                across.budget, color=INK, linestyle=":", linewidth=1, label=f"budget {across.budget:g}"
            )
            set_tax_axis(axes, [row["tax"]["value"] for row in rows], across.budget)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)
        return Figure(title, svg_text(canvas))


def draw_arms(axes: Any, rows: Sequence[Json], metric: str, across: Across) -> None:
    """The line of every arm, from its start on."""
    arms = dict.fromkeys(row["arm"] for row in rows if row["kind"] not in ("untouched", "warm_start"))
    starts = {row["arm"]: [row] for row in rows}  # of each arm the last
    for number, arm in enumerate(arms):
        own = [row for row in rows if row["arm"] == arm]
        start = [] if own[0]["kind"] == INTERPOLATED else starts.get(own[0]["start"], [])
        draw_arm(axes, number, start + own, metric, across)


def draw_starts(axes: Any, rows: Sequence[Json], metric: str, across: Across) -> None:
    """The marks of untouched model and warm start."""
    for row in rows:
        if row["kind"] in ("untouched", "warm_start"):
            marker = "s" if row["kind"] == "warm_start" else "X"
            name = row["kind"].replace("_", " ")
            place = coordinates(row, metric, across)
            axes.plot(*place, marker, color=INK, markersize=8, label=name, zorder=4)


def razor_pictures(figures: Json) -> list[Figure]:
    """Tax against KL(policy || untouched) on task prompts, one dot per checkpoint, with the fitted curves."""
    razor = figures["razor"]
    if razor is None:
        return []
    title = "Tax against KL(policy || untouched) on task prompts"
    style: Any = {**STYLE, "svg.hashsalt": title}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(7.4, 4.6), layout="constrained")
        axes = canvas.subplots()
        axes.plot(razor["kl"], razor["tax"], "o", color=OTHER, markersize=4)
        places = np.linspace(min(razor["kl"]), max(razor["kl"]), 101)
        for line, (name, fit) in zip(LINES, razor["fits"].items(), strict=False):
            heights = np.polynomial.polynomial.polyval(places, fit["coefficients"])
            axes.plot(
                places, heights, line, color=INK, linewidth=1, label=f"{name}, R\u00b2 {fit['value']:.2f}"
            )
        axes.set_xlabel("KL(policy || untouched) on task prompts, nats per token")
        axes.set_ylabel("tax, nats per token")
        axes.grid(alpha=0.15, color=INK)
        axes.legend(frameon=False, fontsize=7)
        return [Figure(title, svg_text(canvas))]


def set_tax_axis(axes: Any, taxes: Sequence[float], budget: float) -> None:
    """Make the tax axis logarithmic above the budget, if a tax is above MANY_BUDGETS budgets."""
    if budget <= 0 or max(taxes) <= MANY_BUDGETS * budget:
        return
    axes.set_xscale("symlog", linthresh=budget, linscale=2)
    ticks = [
        budget * step
        for step in (0, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)
        if step * budget <= 1.2 * max(taxes)
    ]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(0, *taxes) - 0.1 * budget, 1.2 * max(taxes))


def coordinates(row: Json, metric: str, across: Across) -> tuple[float, float]:
    """(tax or cost, gain) of a checkpoint."""
    return across.value(row)["value"], row["gains"][metric]["value"]


def draw_arm(axes: Any, number: int, rows: Sequence[Json], metric: str, across: Across) -> None:
    """Draw the line through an arm's start (if shown) and checkpoints, and the cross at its last one."""
    last = rows[-1]
    colour = COLOURS.get(last["role"], OTHER)
    x, y = zip(*(coordinates(row, metric, across) for row in rows), strict=True)
    shape = {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}
    axes.plot(x, y, color=colour, markersize=4, linewidth=1.2, label=last["arm"], **shape)
    tax = across.value(last)
    gain = last["gains"][metric]
    axes.plot([tax["low"], tax["high"]], [gain["value"]] * 2, color=colour, linewidth=0.7, alpha=0.6)
    axes.plot([tax["value"]] * 2, [gain["low"], gain["high"]], color=colour, linewidth=0.7, alpha=0.6)
