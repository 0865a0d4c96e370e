"""The main table of a study: the best arm of each method, at its end, within the tax budget, and at an equal cost.

Methods are found from the settings of the arms (`eval.study.methods`). The best arm of a method is the one with the
highest target score, as a mean over its seeds; it is chosen on the items it is reported on, which favours methods of
many arms. An equal cost is that of the whole way of the arm that the study recommends, or else of its main arm: each
method counts with the arm that gains most for as much (`eval.study.cost.at_cost`). Intervals cover seeds and items
(`eval.study.claim`). An arm of fewer seeds counts with those that it has.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.metrics.significance import Array
from eval.report.blocks import Table, table_of
from eval.report.wording import METRIC, TAX, plain_number
from eval.run_folder import Json
from eval.study.cells import with_interval
from eval.study.claim import seed_interval
from eval.study.compare import Curve, curves
from eval.study.cost import at_cost, priced_curves
from eval.study.estimates import EvaluatedCheckpoint
from eval.study.methods import method_names, trained_points
from eval.study.sentences import COST_NAMES

END = "end"
BUDGET = "budget"
ENDS = (END, BUDGET)  # prices by which an arm counts with its end, whatever that costs
PRICES = {END: "At the end of each arm", BUDGET: "At the end of each arm, within the tax budget"} | {
    axis: f"At equal {name}" for axis, name in COST_NAMES.items()
}
Lines = Mapping[str, Mapping[int, tuple[Curve, Array]]]


def main_figures(
    checkpoints: Sequence[EvaluatedCheckpoint],
    main: str | None,
    recommended: str,
    target: str,
    budget: float,
    seed: int,
) -> list[Json]:
    """The rows, by price and method: the arm, its seeds, how many it was chosen from, its gains, its tax, and its gain
    minus that of the arm that sets the cost. None without a main arm.
    """
    points = [one.point for one in checkpoints]
    if main is None:
        return []
    methods: dict[str, list[str]] = {}
    for arm, method in method_names(points, main).items():
        methods.setdefault(method, []).append(arm)
    pace = recommended if recommended in trained_points(points) else main
    metrics = [*dict.fromkeys((target, "cosine_held_out", "chrf"))]
    rows = []
    for price in PRICES:
        lines = {metric: lines_of(checkpoints, metric, price) for metric in metrics}
        rows += price_rows(lines, methods, pace, price, budget, seed)
    return rows


def lines_of(checkpoints: Sequence[EvaluatedCheckpoint], metric: str, price: str) -> Lines:
    """arm -> seed -> its curve and what each of its points costs, 0 where only the end counts."""
    if price not in ENDS:
        return priced_curves(checkpoints, metric, price)
    return {
        arm: {seed: (line, np.zeros(len(line.gains))) for seed, line in seeds.items()}
        for arm, seeds in curves(checkpoints, metric).items()
    }


def price_rows(
    lines: Mapping[str, Lines],
    methods: Mapping[str, Sequence[str]],
    pace: str,
    price: str,
    budget: float,
    seed: int,
) -> list[Json]:
    """The rows of one price, of the seeds that `pace` has; `lines` by metric, the target first. Within the budget only
    arms of a mean tax of at most `budget` count.
    """
    target = next(iter(lines))
    costs = {one: float(own[1].max()) for one, own in lines[target].get(pace, {}).items()}
    values = {arm: found for arm in lines[target] if (found := values_of(lines, arm, costs, price))}
    if pace not in values:
        return []
    cost = sum(costs.values()) / len(costs)
    rows = []
    for method, members in methods.items():
        arms = [arm for arm in members if arm in values]
        if price == BUDGET:
            arms = [arm for arm in arms if mean_of(values[arm], "tax") <= budget]
        if not arms:
            continue
        best = max(arms, key=lambda arm: mean_of(values[arm], target))
        own = values[best]
        gains = {name: figure(part, seed) for name, part in own.items() if name != "tax"}
        minus = {one: part - values[pace][target][one] for one, part in own[target].items()}
        rows.append(
            {
                "price": price, "cost": cost, "budget": budget, "method": method, "arm": best, "of": len(arms),
                "seeds": sorted(own[target]), "pace": pace, "gains": gains, "tax": figure(own["tax"], seed),
                "minus_pace": None if best == pace else figure(minus, seed),
            }
        )  # fmt: skip
    return rows


def mean_of(own: Mapping[str, Mapping[int, Array]], name: str) -> float:
    """The mean over seeds of one figure, without resampling."""
    return float(np.mean([part[0] for part in own[name].values()]))


def figure(parts: Mapping[int, Array], seed: int) -> Json:
    """{value, low, high} of (1 + resamples,) by seed."""
    interval = seed_interval(np.stack([*parts.values()]), seed)
    return {key: value for key, value in interval.items() if key != "per_seed"}


def values_of(
    lines: Mapping[str, Lines], arm: str, costs: Mapping[int, float], price: str
) -> dict[str, dict[int, Array]]:
    """(1 + resamples,) by seed: the gain by metric, and "tax" at the place of the first metric. Seeds of `costs` only,
    and those that the arm has; none in which it costs more from its first point on.
    """
    values: dict[str, dict[int, Array]] = {}
    for seed, cost in costs.items():
        for metric, of_arm in lines.items():
            line, own_costs = of_arm.get(arm, {}).get(seed, (None, np.array([np.inf])))
            if line is None or own_costs.min() > cost:
                continue
            if price in ENDS:
                gain, tax = line.gains[-1], line.taxes[-1]
            else:
                gain, tax = at_cost(line, own_costs, cost)
            values.setdefault(metric, {})[seed] = gain
            if metric == next(iter(lines)):
                values.setdefault("tax", {})[seed] = tax
    return values


def main_table(figures: Json, price: str) -> Table:
    """The table of one price."""
    rows = [row for row in figures["main_table"] if row["price"] == price]
    metrics = [METRIC[name] for name in (rows[0]["gains"] if rows else ())]
    target = METRIC[figures["target"]]
    pace = rows[0]["pace"] if rows else ""
    limit = rows[0]["budget" if price == BUDGET else "cost"] if rows else 0
    cost = "" if price == END else f" ({plain_number(limit if price == BUDGET else round(limit))})"
    cells = (
        {
            "Method": row["method"],
            "Best arm": f"{row['arm']} (of {row['of']})",
            "Seeds": str(len(row["seeds"])),
            **{f"{one.label}, gain": with_interval(one, row["gains"][one.key]) for one in metrics},
            "Tax": with_interval(TAX, row["tax"]),
            f"{target.label} minus {pace}": with_interval(target, row["minus_pace"]),
        }
        for row in rows
    )
    note = (
        f"The arm of each method with the highest {target.label}, chosen on the same items; gains over the warm start. 95 % "
        f"intervals of a bootstrap over seeds and items; of one seed, over items only. An equal cost is that of {pace}, the way "
        "from the untouched model included; a cheaper arm counts with its end."
    )
    return table_of(f"{PRICES[price]}{cost}", cells, (note,))
