"""What a study's checkpoints cost, the whole way from the untouched model: seconds and tokens; and the arms compared at
an equal cost.

Seconds are those of the machine that trained. Tokens are exact: trained on, sampled, and scored without a gradient.
At a cost C an arm has the gain of its front of gain against cost, linear between checkpoints, and at more than its
whole cost that of its end: nothing is extrapolated. The tax there is that of the same place.
"""

from collections.abc import Sequence

import numpy as np

from eval.metrics.significance import Array
from eval.run_folder import Json
from eval.study.compare import Curve, curve, starts_and_steps, training_start, warm_starts
from eval.study.estimates import EvaluatedCheckpoint, interval
from eval.study.pareto import front
from eval.study.points import UNTOUCHED, Point

TOKENS = ("tokens", "sampled_tokens", "scored_tokens")
COSTS = ("seconds", "all_tokens")
NO_SAMPLES = ("untouched", "warm_start", "sft")  # kinds that sample and score nothing


def own_cost(point: Point) -> Json | None:
    """The cost of a checkpoint from its start on, with `all_tokens`; None for a point of an earlier version that does
    not say what was sampled.
    """
    cost: Json = dict(point.cost)
    if point.kind in NO_SAMPLES:
        cost = {"sampled_tokens": 0, "scored_tokens": 0, **cost}
    if any(key not in cost for key in TOKENS):
        return None
    return {**cost, "all_tokens": sum(cost[key] for key in TOKENS)}


def path_cost(
    checkpoint: EvaluatedCheckpoint, checkpoints: Sequence[EvaluatedCheckpoint]
) -> dict[str, float] | None:
    """The cost from the untouched model on: that of the checkpoint and of all that it begins from. None where a part of
    it is unknown.
    """
    own = own_cost(checkpoint.point)
    if own is None or checkpoint.point.kind == UNTOUCHED or not checkpoint.point.is_trained:
        return own
    start = training_start(checkpoint, checkpoints)
    before = path_cost(start[0], checkpoints) if start else None
    return None if before is None else {key: own[key] + before[key] for key in own}


def at_cost(line: Curve, costs: Array, cost: float) -> tuple[Array, Array]:
    """(1 + resamples,) gain and tax of a curve whose points cost `costs` (points,), at a cost no less than the smallest."""
    gains = []
    taxes = []
    for gain, tax in zip(line.gains.T, line.taxes.T, strict=True):
        best = front(gain, costs)
        place = costs[best]
        gains.append(np.interp(cost, place, gain[best]))
        taxes.append(np.interp(cost, place, tax[best]))
    return np.asarray(gains), np.asarray(taxes)


def equal_cost(
    checkpoints: Sequence[EvaluatedCheckpoint], main: str, others: Sequence[str], metric: str, axis: str
) -> Json | None:
    """Gain and tax of `main` and of the best of `others` at the largest cost that both reach, seed by seed.

    The best is the arm with the highest gain there, chosen for each seed from the results. None without a common seed
    of known costs.
    """
    lines = priced_curves(checkpoints, metric, axis)
    rows = []
    for seed, (own, own_costs) in lines.get(main, {}).items():
        rivals = {arm: lines[arm][seed] for arm in others if seed in lines.get(arm, {})}
        cost = float(min(own_costs.max(), max((costs.max() for _, costs in rivals.values()), default=0.0)))
        rivals_there = {arm: rival for arm, rival in rivals.items() if rival[1].min() <= cost}
        if own_costs.min() > cost or not rivals_there:
            continue
        best = max(rivals_there, key=lambda arm: (first_gain(*rivals_there[arm], cost), arm))
        rows.append((seed, best, cost, at_cost(own, own_costs, cost), at_cost(*rivals_there[best], cost)))
    if not rows:
        return None
    result: Json = {
        "axis": axis, "metric": metric, "main": main, "seeds": [row[0] for row in rows], "others": [row[1] for row in rows],
        "cost": sum(row[2] for row in rows) / len(rows),
    }  # fmt: skip
    for name, part in (("gain", 0), ("tax", 1)):
        result |= {
            f"main_{name}": interval([row[3][part] for row in rows]),
            f"other_{name}": interval([row[4][part] for row in rows]),
            f"{name}_difference": interval([row[3][part] - row[4][part] for row in rows]),
        }
    return result


def priced_curves(
    checkpoints: Sequence[EvaluatedCheckpoint], metric: str, axis: str
) -> dict[str, dict[int, tuple[Curve, Array]]]:
    """arm -> seed -> its curve and the cost of each of its points (points,), where all are known."""
    warm = warm_starts(checkpoints)
    lines: dict[str, dict[int, tuple[Curve, Array]]] = {}
    for arm, seeds in starts_and_steps(checkpoints).items():
        for seed, steps in seeds.items():
            paths = [path_cost(step, checkpoints) for step in steps]
            costs = np.asarray([path[axis] for path in paths if path is not None])
            if len(costs) == len(steps):
                lines.setdefault(arm, {})[seed] = curve(steps, warm[seed], metric), costs
    return lines


def first_gain(line: Curve, costs: Array, cost: float) -> float:
    """The gain itself at a cost, without its resamples."""
    return float(at_cost(Curve(line.gains[:, :1], line.taxes[:, :1]), costs, cost)[0][0])
