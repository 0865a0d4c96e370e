"""Fits the tax of a study's checkpoints to their divergence on the task: KL(policy || untouched) on task prompts.

"RL's Razor" (arXiv 2509.04259) says that this divergence predicts forgetting whatever the method. A line and a
parabola, by least squares over all points of all arms; R2 = 1 - squares left / squares about the mean. The interval is
a percentile bootstrap over arms and not over points, as the points of an arm follow each other.
"""

from collections.abc import Sequence

import numpy as np

from eval.metrics.significance import Array, percentile_interval
from eval.run_folder import Json
from eval.study.points import UNTOUCHED, Point
from eval.study.roles import INTERPOLATED

DEGREES = {"linear": 1, "quadratic": 2}
FEWEST_ARMS = 3


def polynomial_fit(x: Array, y: Array, degree: int) -> tuple[Array, float] | None:
    """Coefficients from the constant on, and R2; None with too few different `x`, or without spread in `y`.

    >>> polynomial_fit(np.array([0.0, 1, 2]), np.array([1.0, 3, 5]), 1)[0].round(6).tolist()
    [1.0, 2.0]
    """
    about_mean = float(((y - y.mean()) ** 2).sum())
    if len(np.unique(x)) <= degree or about_mean == 0:
        return None
    powers = np.vander(x, degree + 1, increasing=True)
    coefficients = np.asarray(np.linalg.lstsq(powers, y, rcond=None)[0], dtype=np.float64)
    residual = float(((y - powers @ coefficients) ** 2).sum())
    return coefficients, 1 - residual / about_mean


def razor_figures(points: Sequence[Point], resamples: int, seed: int) -> Json | None:
    """The fits over all trained checkpoints and warm starts; None without `FEWEST_ARMS` arms that measured it."""
    choices = [
        point
        for point in points
        if point.policy_kl is not None and point.kind not in (UNTOUCHED, INTERPOLATED)
    ]
    arms = list(dict.fromkeys(point.arm for point in choices))
    if len(arms) < FEWEST_ARMS:
        return None
    x = np.asarray(
        [point.policy_kl["kl_mean"] for point in choices if point.policy_kl is not None], dtype=np.float64
    )
    y = np.asarray([point.tax["drift"]["general"]["nll_change_mean"] for point in choices], dtype=np.float64)
    members = [np.flatnonzero([point.arm == arm for point in choices]) for arm in arms]
    draws = np.random.default_rng(seed).integers(len(arms), size=(resamples, len(arms)))
    fits = {}
    for name, degree in DEGREES.items():
        fit = polynomial_fit(x, y, degree)
        if fit is None:
            continue
        rows = [np.concatenate([members[arm] for arm in draw]) for draw in draws]
        others = [one[1] for row in rows if (one := polynomial_fit(x[row], y[row], degree)) is not None]
        low, high = percentile_interval(np.asarray(others))
        fits[name] = {"coefficients": fit[0].tolist(), "value": fit[1], "low": low, "high": high}
    figures = {"points": len(choices), "arms": len(arms), "kl": x.tolist(), "tax": y.tolist(), "fits": fits}
    return figures if fits else None
