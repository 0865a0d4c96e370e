"""Detects a gamed reward from a run's log: agreement of the reward with measures that it does not use, and
their fall.

A reward that rises while a second encoder and chrF fall has a loophole. Pure functions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from reward.groups import deviations

REWARD = "reward_mean"
WATCHED = ("cosine_held_out_mean", "chrf_mean")
ALARM_WINDOW = 10  # steps at the start and at the end of a run that an alarm compares (eval/alarms.py)
CLEAR_ERRORS = 2.0  # standard errors from which a difference of two windows is clear


def agreement(rewards: Tensor, other: Tensor) -> float:
    """Correlation of two measures within groups: (P, G), (P, G) -> [-1, 1]; 0 where one of them does not vary
    within any group.

    Each group is centred before pooling, so that easy and hard prompts do not make two measures look alike. A
    completion that lacks either measure (NaN) is left out of both.

    >>> import torch
    >>> agreement(torch.tensor([[0.0, 1.0], [5.0, 6.0]]), torch.tensor([[0.2, 0.4], [0.1, 0.3]]))
    1.0
    """
    missing = rewards.isnan() | other.isnan()
    a, b = (deviations(values.double().masked_fill(missing, math.nan))[0] for values in (rewards, other))
    scale = float((a.square().sum() * b.square().sum()).sqrt())
    return round(float((a * b).sum()) / scale, 6) if scale > 0 else 0.0


def gaming_alarm(rows: Sequence[Mapping[str, Any]], window: int) -> str:
    """One sentence where the reward rose clearly since the start of the run while every watched measure fell
    clearly; else "".

    Compares the first and the last `window` of `rows` (one per step, as logged); "" for too few rows or
    without the watched measures.
    """
    if (
        len(rows) < 2 * window
        or window < 2
        or not all(key in rows[0] and key in rows[-1] for key in (REWARD, *WATCHED))
    ):
        return ""
    changes = {key: change([row[key] for row in rows], window) for key in (REWARD, *WATCHED)}
    if changes[REWARD][1] < CLEAR_ERRORS or any(
        score > -CLEAR_ERRORS for _, score in (changes[key] for key in WATCHED)
    ):
        return ""
    differences = ", ".join(
        f"{key.removesuffix('_mean')} {difference:+.3f}" for key, (difference, _) in changes.items()
    )
    return f"the reward rises while what is not rewarded falls ({differences}): it is probably being gamed"


def change(values: Sequence[float], window: int) -> tuple[float, float]:
    """Last window minus first window: the difference of the means, and the difference in standard errors."""
    first = values[:window]
    last = values[-window:]
    means = [sum(part) / window for part in (first, last)]
    variances = [
        sum((v - m) ** 2 for v in part) / (window - 1) for part, m in zip((first, last), means, strict=True)
    ]
    difference = means[1] - means[0]
    error = math.sqrt(sum(variances) / window)
    return difference, difference / error if error else math.copysign(
        math.inf, difference
    ) if difference else 0.0
