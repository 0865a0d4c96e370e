"""Computes transition rates of a study: of the questions right before, how many a checkpoint gets wrong (1 -> 0), and
of those wrong before, how many it gets right (0 -> 1).

Before is the untouched model, or the warm start of the same seed. Over seeds a rate is the mean of the seeds'
rates: from three seeds on with Student's t interval, else with the Wilson interval of so many items of one seed,
as a second seed asks the same questions.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from eval.forgetting.probe_changes import compare_questions
from eval.metrics.significance import wilson_interval
from eval.report.transitions import RATES
from eval.run_folder import Json, shared_keys
from eval.study.estimates import SEEDS_FOR_T, student_interval
from eval.study.points import UNTOUCHED, WARM_START, Point, compared_probes


def transition_figures(points: Sequence[Point], untouched: Point | None, warm: Mapping[int, Point]) -> Json:
    """The rates of one checkpoint over its seeds: model before -> probe -> {"lost_share", "gained_share",
    "p_values"}; only of what every seed has.
    """
    before = {UNTOUCHED: [untouched] * len(points), WARM_START: [warm.get(point.seed) for point in points]}
    return {
        name: rates_over_seeds([changes(first, point) for first, point in zip(firsts, points, strict=True)])
        for name, firsts in before.items()
    }


def changes(before: Point | None, after: Point) -> Json:
    """`compare_questions` of two points; {} where one has no probes."""
    if before is None or not before.tax.get("probes") or not after.tax.get("probes"):
        return {}
    return compared_probes(before, after, compare_questions)


def rates_over_seeds(seeds: Sequence[Json]) -> Json:
    """Probe -> its rates over the seeds."""
    return {
        key: {rate: mean_share([one[key][rate] for one in seeds]) for rate in RATES}
        | {"p_values": [one[key]["p_value"] for one in seeds]}
        for key in shared_keys(seeds)
    }


def mean_share(shares: Sequence[Json]) -> Json:
    """Shares of several seeds -> {value, low, high, n}; `n` is the mean number of items of a seed."""
    present = [one for one in shares if one["value"] is not None]
    if not present:
        return dict(shares[0])
    values = [one["value"] for one in present]
    n = fmean(one["n"] for one in present)
    mean = fmean(values)
    if len(present) < SEEDS_FOR_T:
        low, high = wilson_interval(mean * n, n)
    else:
        low, high = student_interval(values)
        low, high = max(0.0, low), min(1.0, high)
    return {"value": mean, "low": low, "high": high, "n": n}
