"""The main table of a study: the best arm of each group of methods, at its end and at an equal cost.

Groups are found from the settings of the arms (`group_of`). The best arm of a group is the one with the highest target
score, as a mean over seeds; it is chosen on the items it is reported on, which favours large groups. An equal cost is
that of the whole way of the arm that the study recommends, or else of its main arm: each group counts with the arm that
gains most for as much (`eval.study.cost.at_cost`). Intervals cover seeds and items (`eval.study.claim`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.metrics.significance import Array
from eval.report.blocks import Table
from eval.report.wording import plain_number
from eval.run_folder import Json
from eval.study.cells import with_interval
from eval.study.claim import seed_draws, seed_interval
from eval.study.compare import Curve, curves
from eval.study.cost import at_cost, priced_curves
from eval.study.estimates import EvaluatedCheckpoint
from eval.study.points import Point
from eval.study.roles import INTERPOLATED, MAIN_KIND, as_keys
from eval.study.sentences import COST_NAMES, METRIC, TAX

SFT = "SFT"
RIVAL = "Rivals against forgetting"
GRPO = "GRPO"
VARIANT = "Other GRPO"
HYBRID = "Hybrids of GRPO and reference texts"
AVERAGE = "Between untouched model and end (WiSE-FT)"
CONTROL = "Controls"
GROUPS = (SFT, RIVAL, AVERAGE, GRPO, VARIANT, HYBRID, CONTROL)
REMEDIES = ("protection.train", "token_loss.train", "replay.train", "anchor.train")
OFF = ("none", "nll", "0", "0.0")
END = "end"
PRICES = {END: "At the end of each arm"} | {axis: f"At equal {name}" for axis, name in COST_NAMES.items()}
Lines = Mapping[str, Mapping[int, tuple[Curve, Array]]]


def group_of(point: Point, main: Point, kinds: Mapping[str, str]) -> str:
    """The group of a trained arm; `kinds` of all arms, as one may begin another one. What the main arm has too is no
    remedy against forgetting.
    """
    keys = as_keys(point.settings)
    shared = as_keys(main.settings)
    if point.kind == "sft":
        own = [name for name in REMEDIES if keys.get(name, "none") not in (*OFF, shared.get(name))]
        return RIVAL if own else SFT
    if point.kind != MAIN_KIND:
        return AVERAGE if point.kind == INTERPOLATED else RIVAL
    if keys.get("reward.control", "none") != "none":
        return CONTROL
    if keys.get("guide.mode", "none") != "none" or kinds.get(point.start, MAIN_KIND) != MAIN_KIND:
        return HYBRID
    return GRPO if point.arm == main.arm else VARIANT


def main_figures(
    checkpoints: Sequence[EvaluatedCheckpoint], main: str | None, recommended: str, target: str, seed: int
) -> list[Json]:
    """The rows, by price and group: the arm, how many it was chosen from, its gains, its tax, and its gain minus that of
    the arm that sets the cost. None without a main arm.
    """
    points = {one.point.arm: one.point for one in checkpoints if one.point.is_trained}
    if main is None:
        return []
    kinds = {arm: point.kind for arm, point in points.items()}
    groups: dict[str, list[str]] = {}
    for arm, point in points.items():
        groups.setdefault(group_of(point, points[main], kinds), []).append(arm)
    pace = recommended if recommended in points else main
    metrics = [*dict.fromkeys((target, "cosine_held_out", "chrf"))]
    return [
        row
        for price in PRICES
        for row in price_rows(
            {metric: lines_of(checkpoints, metric, price) for metric in metrics}, groups, pace, price, seed
        )
    ]


def lines_of(checkpoints: Sequence[EvaluatedCheckpoint], metric: str, price: str) -> Lines:
    """arm -> seed -> its curve and what each of its points costs, 0 where only the end counts."""
    if price != END:
        return priced_curves(checkpoints, metric, price)
    return {
        arm: {seed: (line, np.zeros(len(line.gains))) for seed, line in seeds.items()}
        for arm, seeds in curves(checkpoints, metric).items()
    }


def price_rows(
    lines: Mapping[str, Lines], groups: Mapping[str, Sequence[str]], pace: str, price: str, seed: int
) -> list[Json]:
    """The rows of one price, of the seeds that `pace` has; `lines` by metric, the target first."""
    target = next(iter(lines))
    costs = {one: float(own[1].max()) for one, own in lines[target].get(pace, {}).items()}
    values = {arm: found for arm in lines[target] if (found := values_of(lines, arm, costs, price))}
    if pace not in values:
        return []
    draws = seed_draws(len(costs), values[pace][target].shape[1] - 1, seed)
    cost = sum(costs.values()) / len(costs)
    rows = []
    for group in GROUPS:
        arms = [arm for arm in groups.get(group, ()) if arm in values]
        if not arms:
            continue
        best = max(arms, key=lambda arm: float(values[arm][target][:, 0].mean()))
        own = values[best]
        gains = {name: figure(part, draws) for name, part in own.items() if name != "tax"}
        minus = None if best == pace else figure(own[target] - values[pace][target], draws)
        rows.append(
            {
                "price": price, "cost": cost, "group": group, "arm": best, "of": len(arms), "pace": pace, "gains": gains,
                "tax": figure(own["tax"], draws), "minus_pace": minus,
            }
        )  # fmt: skip
    return rows


def figure(part: Array, draws: Array) -> Json:
    """{value, low, high} of (seeds, 1 + resamples)."""
    return {key: value for key, value in seed_interval(part, draws).items() if key != "per_seed"}


def values_of(
    lines: Mapping[str, Lines], arm: str, costs: Mapping[int, float], price: str
) -> dict[str, Array]:
    """(seeds, 1 + resamples) gain by metric, and "tax" at the place of the first metric; nothing where a seed is missing
    or the arm costs more from its first point on.
    """
    found: dict[str, list[Array]] = {}
    for seed, cost in costs.items():
        for metric, of_arm in lines.items():
            line, own_costs = of_arm.get(arm, {}).get(seed, (None, np.array([np.inf])))
            if line is None or own_costs.min() > cost:
                return {}
            gain, tax = (line.gains[-1], line.taxes[-1]) if price == END else at_cost(line, own_costs, cost)
            found.setdefault(metric, []).append(gain)
            if metric == next(iter(lines)):
                found.setdefault("tax", []).append(tax)
    return {name: np.stack(parts) for name, parts in found.items()}


def main_table(figures: Json, price: str) -> Table:
    """The table of one price."""
    rows = [row for row in figures["main_table"] if row["price"] == price]
    metrics = [METRIC[name] for name in (rows[0]["gains"] if rows else ())]
    target = METRIC[figures["target"]]
    pace = rows[0]["pace"] if rows else ""
    cost = f" ({plain_number(round(rows[0]['cost']))})" if rows and price != END else ""
    cells = tuple(
        (
            row["group"],
            f"{row['arm']} (of {row['of']})",
            *(with_interval(metric, row["gains"][metric.key]) for metric in metrics),
            with_interval(TAX, row["tax"]),
            with_interval(target, row["minus_pace"]),
        )
        for row in rows
    )
    note = (
        f"The arm of each group with the highest {target.label}, chosen on the same items; gains over the warm start. 95 % "
        f"intervals of a bootstrap over seeds and items. An equal cost is that of {pace}, the way from the untouched model "
        "included; a cheaper arm counts with its end."
    )
    header = (
        "Group",
        "Best arm",
        *(f"{metric.label}, gain" for metric in metrics),
        "Tax",
        f"{target.label} minus {pace}",
    )
    return Table(f"{PRICES[price]}{cost}", header, cells, (note,))
