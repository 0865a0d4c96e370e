"""Tests a study's claim: at the target score of the best SFT run the recommended arm pays at most half its tax, or it
gains more at an equal tax. Where the SFT run lowers the loss elsewhere, the arm must lower it as much.

SFT runs are the arms of the method "SFT" (`eval.study.methods`) whose way begins at the same model as the recommended
arm's. The best is the one that reaches the highest target score, as a mean over seeds; its score and its tax are those
of that checkpoint. It is chosen on the items it is reported on, which favours SFT.

Intervals cover seeds and items: every resample draws seeds with replacement, and items with replacement, which are
the same for all arms and seeds. Seeds and items are crossed, so this is the pigeonhole bootstrap (Owen, Annals of
Applied Statistics 1, 2007), a hierarchical one (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
"""

import math
from collections.abc import Sequence

import numpy as np

from eval.metrics.significance import CONFIDENCE, Array, resample_counts
from eval.run_folder import Json
from eval.study.compare import Curve, curves
from eval.study.estimates import EvaluatedCheckpoint
from eval.study.methods import SFT, method_names, root_of, trained_points

CONFIRMED = "confirmed"
REFUTED = "refuted"
UNCLEAR = "not clear"
SHARE = 0.5  # of the SFT run's tax


def claim_figures(
    checkpoints: Sequence[EvaluatedCheckpoint], recommended: str, metric: str, seed: int
) -> Json | None:
    """The claim's two halves with intervals, and its verdict; None without the recommended arm or an SFT run."""
    lines = curves(checkpoints, metric)
    points = [one.point for one in checkpoints]
    arms = trained_points(points)
    if recommended not in arms:
        return None
    root = root_of(recommended, arms)
    names = method_names(points, recommended)
    rivals = [
        arm
        for arm, name in names.items()
        if name == SFT and root_of(arm, arms) == root and arm != recommended
    ]
    seeds = [
        one for one in lines.get(recommended, {}) if any(one in lines.get(rival, {}) for rival in rivals)
    ]
    rivals = [rival for rival in rivals if set(seeds) <= set(lines.get(rival, {}))]
    if not seeds or not rivals:
        return None
    best = max(rivals, key=lambda rival: float(np.mean([lines[rival][one].reach[0] for one in seeds])))
    rows = [halves(lines[recommended][one], lines[best][one]) for one in seeds]
    parts = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    figures = {name: seed_interval(part, seed) for name, part in parts.items()}
    verdicts = {"half": half_verdict(figures["half"]), "gain": gain_verdict(figures["gain"])}
    return {
        "recommended": recommended, "sft": best, "sft_arms": rivals, "metric": metric, "seeds": seeds, **figures,
        "verdicts": verdicts, "verdict": verdict(verdicts),
    }  # fmt: skip


def halves(own: Curve, rival: Curve) -> dict[str, Array]:
    """(1 + resamples,) of one seed: the SFT run's score (its gain) and tax, the recommended arm's tax at that score and
    its gain at that tax, and what the claim is about: `half`, own tax minus half the rival's (minus all of one below 0),
    and `gain`, own gain minus the rival's. A score that the arm does not reach has an infinite tax. Beside it, of the
    arm's own best checkpoint: `best_tax`, and `best_gain`, its gain minus the SFT run's score.
    """
    best = int(rival.gains[:, 0].argmax())
    score = rival.gains[best]
    tax = rival.taxes[best]
    own_best = int(own.gains[:, 0].argmax())
    own_tax = own.tax_at(score)
    own_gain = own.gain_at(tax)
    return {
        "score": score,
        "sft_tax": tax,
        "own_tax": own_tax,
        "own_gain": own_gain,
        "half": own_tax - np.minimum(SHARE * tax, tax),
        "gain": own_gain - score,
        "best_tax": own.taxes[own_best],
        "best_gain": own.gains[own_best] - score,
    }


def seed_interval(part: Array, seed: int) -> Json:
    """(seeds, 1 + resamples) of one figure -> {value, low, high, per_seed}; null for what is infinite. `seed` is that of
    the draws.
    """
    count, columns = part.shape
    return drawn_interval(part, resample_counts(count, np.random.default_rng([seed, count]), columns - 1))


def drawn_interval(part: Array, draws: Array) -> Json:
    """The same from `draws` (resamples, seeds): in resample b the figure is the mean over the drawn seeds of their values
    under the b-th draw of items.
    """
    with np.errstate(invalid="ignore"):
        # a seed that is not drawn counts nothing
        weighted = np.where(draws.T > 0, draws.T * part[:, 1:], 0.0)
    resampled = weighted.sum(axis=0) / len(part)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")
    return {
        "value": finite(part[:, 0].mean()),
        "low": finite(low),
        "high": finite(high),
        "per_seed": [finite(value) for value in part[:, 0]],
    }


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def half_verdict(half: Json) -> str:
    """Whether the arm pays at most half: by the whole interval. An infinite end lies above."""
    if half["high"] is not None and half["high"] <= 0:
        return CONFIRMED
    return REFUTED if half["low"] is None or half["low"] > 0 else UNCLEAR


def gain_verdict(gain: Json) -> str:
    """Whether the arm gains more: by the whole interval. An infinite end lies below."""
    if gain["low"] is not None and gain["low"] > 0:
        return CONFIRMED
    return REFUTED if gain["high"] is None or gain["high"] <= 0 else UNCLEAR


def verdict(halves_of_claim: Json) -> str:
    """Of the claim: one half that holds is enough, and both must fail."""
    verdicts = set(halves_of_claim.values())
    if CONFIRMED in verdicts:
        return CONFIRMED
    return REFUTED if verdicts == {REFUTED} else UNCLEAR
