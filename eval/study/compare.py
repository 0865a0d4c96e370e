"""Compares the arms of a study: areas under the fronts, the tax at an equal target score, the checkpoint to
ship, the tax budgets.

An arm's curve begins where its training began: at the warm start (gain 0), the untouched model (tax 0) or
another arm's last checkpoint. It goes through the arm's evaluated checkpoints. Gains are over the warm start
of the same seed, and curves are compared seed by seed. The best of many (an SFT arm, a checkpoint to ship) is
chosen on the items it is reported on, so its figure is optimistic.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.metrics.significance import Array
from eval.run_folder import Json
from eval.study import layout
from eval.study.estimates import Estimate, EvaluatedCheckpoint, interval
from eval.study.pareto import gain_at, hypervolume, tax_at
from eval.study.points import UNTOUCHED, WARM_START
from eval.study.roles import INTERPOLATED, MAIN_KIND, RIVALS, as_keys

TRAINING_KINDS = (MAIN_KIND, *RIVALS)  # kinds that a budget can steer
STUDY = Path()  # a study's folder, from which places in the results are counted
DEFAULT_REFERENCE = WARM_START  # what a tax budget is measured against where an arm does not say so


@dataclass(frozen=True)
class Curve:
    """(points, 1 + resamples) gains and taxes of one arm and seed, its start first.

    Column 0 holds the figures, the others their values in the resamples.
    """

    gains: Array
    taxes: Array

    @property
    def reach(self) -> Array:
        """(1 + resamples,) the largest gain."""
        return np.asarray(self.gains.max(axis=0))

    def tax_at(self, gains: Array) -> Array:
        """(1 + resamples,) the tax at each column's gain, infinite beyond `reach`."""
        return np.asarray([*map(tax_at, self.gains.T, self.taxes.T, gains)])

    def gain_at(self, taxes: Array) -> Array:
        """(1 + resamples,) the gain at each column's tax, minus infinity below all of its own."""
        return np.asarray([*map(gain_at, self.gains.T, self.taxes.T, taxes)])


def warm_starts(checkpoints: Iterable[EvaluatedCheckpoint]) -> dict[int, EvaluatedCheckpoint]:
    """The warm start of each seed."""
    return {
        checkpoint.point.seed: checkpoint for checkpoint in checkpoints if checkpoint.point.kind == WARM_START
    }


def curves(checkpoints: Sequence[EvaluatedCheckpoint], metric: str) -> dict[str, dict[int, Curve]]:
    """arm -> seed -> curve, for every trained arm and every seed whose warm start was evaluated."""
    warm = warm_starts(checkpoints)
    return {
        arm: {seed: curve(steps, warm[seed], metric) for seed, steps in seeds.items()}
        for arm, seeds in starts_and_steps(checkpoints).items()
    }


def starts_and_steps(
    checkpoints: Sequence[EvaluatedCheckpoint],
) -> dict[str, dict[int, list[EvaluatedCheckpoint]]]:
    """arm -> seed -> what its training began from, if that was evaluated, and its checkpoints; of the seeds whose warm
    start was evaluated.
    """
    warm = warm_starts(checkpoints)
    groups: dict[str, dict[int, list[EvaluatedCheckpoint]]] = {}
    for checkpoint in checkpoints:
        seed = checkpoint.point.seed
        if checkpoint.point.is_trained and seed in warm:
            groups.setdefault(checkpoint.point.arm, {}).setdefault(
                seed, training_start(checkpoint, checkpoints)
            ).append(checkpoint)
    return groups


def training_start(
    checkpoint: EvaluatedCheckpoint, checkpoints: Sequence[EvaluatedCheckpoint]
) -> list[EvaluatedCheckpoint]:
    """The checkpoint that training began from: the last of that name and seed; [] if it was not evaluated."""
    start = checkpoint.point.start
    seed = checkpoint.point.seed
    own = [
        one
        for one in checkpoints
        if one.point.arm == start and (one.point.seed == seed or start == UNTOUCHED)
    ]
    return sorted(own, key=lambda one: one.point.step)[-1:]


def curve(steps: Sequence[EvaluatedCheckpoint], warm: EvaluatedCheckpoint, metric: str) -> Curve:
    """The curve through checkpoints; gains are counted from `warm`."""
    gains = [step.metrics[metric] - warm.metrics[metric] for step in steps]
    return Curve(np.stack(gains), np.stack([step.tax for step in steps]))


def merge_curves(several: Sequence[Curve]) -> Curve:
    """The points of several curves as one set, for the area they cover together."""
    return Curve(
        np.concatenate([one.gains for one in several]), np.concatenate([one.taxes for one in several])
    )


def areas(
    checkpoints: Sequence[EvaluatedCheckpoint],
    groups: dict[str, list[str]],
    metric: str,
    first: str,
    budget: float,
) -> list[Json]:
    """Area under the front of each group of arms over its seeds, and minus that of the group `first`.

    Two reference points with gain 0: one at the largest tax of any trained checkpoint or warm start (`area`),
    which a single expensive arm can set, and one at the budget (`area_in_budget`).
    """
    by_arm = curves(checkpoints, metric)
    cap = max(
        (float(one.taxes[:, 0].max()) for seeds in by_arm.values() for one in seeds.values()), default=0.0
    )
    caps = {"area": cap, "area_in_budget": budget}
    covered_areas = {
        name: {key: covered_area(by_arm, arms, corner) for key, corner in caps.items()}
        for name, arms in groups.items()
    }
    rows = []
    for name, kinds in covered_areas.items():
        row: Json = {"name": name, "cap": cap}
        for key, seeds in kinds.items():
            base = covered_areas.get(first, {}).get(key, {})
            both = [seed for seed in seeds if seed in base and name != first]
            row[key] = interval([*seeds.values()]) if seeds else None
            row[f"{key}_minus_first"] = (
                interval([seeds[seed] - base[seed] for seed in both]) if both else None
            )
        rows.append(row)
    return [row for row in rows if row["area"] is not None]


def covered_area(by_arm: dict[str, dict[int, Curve]], arms: Sequence[str], cap: float) -> dict[int, Estimate]:
    """seed -> hypervolume of all checkpoints of these arms together."""
    seeds = sorted({seed for arm in arms for seed in by_arm.get(arm, {})})
    sets = {
        seed: merge_curves([by_arm[arm][seed] for arm in arms if seed in by_arm.get(arm, {})])
        for seed in seeds
    }
    return {seed: hypervolume(one.gains, one.taxes, cap) for seed, one in sets.items()}


def equal_target(
    checkpoints: Sequence[EvaluatedCheckpoint], main: str, others: Sequence[str], metric: str
) -> Json | None:
    """The tax of `main` and of the best of `others` at the largest target score both reach, seed by seed.

    The best is the arm with the lowest tax there, chosen for each seed from the results. A seed in which one
    side never rose above the warm start has no such score; it is listed in `no_common_score`. None without a
    common seed.
    """
    by_arm = curves(checkpoints, metric)
    rows: list[tuple[int, str, Array, Array, Array]] = []
    without: list[int] = []
    for seed, own in by_arm.get(main, {}).items():
        rivals = {arm: by_arm[arm][seed] for arm in others if seed in by_arm.get(arm, {})}
        if not rivals:
            continue
        score = min(own.reach[0], max(rival.reach[0] for rival in rivals.values()))
        if score <= 0:
            without.append(seed)
            continue
        best = min((tax_at(one.gains[:, 0], one.taxes[:, 0], score), arm) for arm, one in rivals.items())[1]
        scores = np.minimum(own.reach, rivals[best].reach)
        rows.append((seed, best, scores, own.tax_at(scores), rivals[best].tax_at(scores)))
    if not rows and not without:
        return None
    result: Json = {
        "metric": metric,
        "main": main,
        "seeds": [row[0] for row in rows],
        "no_common_score": without,
    }
    if rows:
        result |= {
            "others": [row[1] for row in rows],
            "gain": interval([row[2] for row in rows]),
            "main_tax": interval([row[3] for row in rows]),
            "other_tax": interval([row[4] for row in rows]),
            "main_minus_other": interval([row[3] - row[4] for row in rows]),
        }
    return result


def ship(checkpoints: Sequence[EvaluatedCheckpoint], metric: str, budget: float, study: Path) -> Json | None:
    """The checkpoint of highest target score among those whose tax interval ends within the budget, or None.

    Of equal scores the one with the lower tax. Every evaluated checkpoint is a candidate, warm start and
    untouched model included.
    """
    taxes = [(checkpoint, interval([checkpoint.tax])) for checkpoint in checkpoints]
    within = [(checkpoint, tax) for checkpoint, tax in taxes if tax["high"] <= budget]
    if not within:
        return None
    best, tax = max(within, key=lambda pair: (pair[0].metrics[metric][0], -pair[1]["value"]))
    point = best.point
    warm = warm_starts(checkpoints).get(best.point.seed)
    place = weights_folder(best)
    return {
        "arm": point.arm,
        "kind": point.kind,
        "seed": point.seed,
        "step": point.step,
        "sha256": point.sha256,
        "candidates": len(checkpoints),
        "within": len(within),
        "value": float(best.metrics[metric][0]),
        "gain": interval([best.metrics[metric] - warm.metrics[metric]]) if warm else None,
        "tax": tax,
        "path": place,
        "kept": place is not None and (study / place).is_dir(),
    }


def weights_folder(checkpoint: EvaluatedCheckpoint) -> str | None:
    """Where in a study's folder the weights of a checkpoint are, if the study keeps them.

    None for a checkpoint without weights of its own (untouched, interpolated).
    """
    point = checkpoint.point
    if point.kind in (UNTOUCHED, INTERPOLATED):
        return None
    if point.kind == WARM_START:
        return layout.warm_start_model(STUDY, point.seed).as_posix()
    if point.step == point.num_steps:
        return layout.arm_model(STUDY, point.arm, point.seed).as_posix()
    return layout.snapshot_folder(layout.arm_run(STUDY, point.arm, point.seed), point.step).as_posix()


def budgets(checkpoints: Sequence[EvaluatedCheckpoint]) -> list[Json]:
    """The final and the largest tax of every arm with tax.budget > 0, seed by seed, beside that budget.

    They are measured on the general texts of the evaluation, not on those that steered training.
    """
    references = {WARM_START: warm_starts(checkpoints)}
    groups: dict[tuple[str, int], list[EvaluatedCheckpoint]] = {}
    for checkpoint in checkpoints:
        if (
            checkpoint.point.kind in TRAINING_KINDS
            and float(as_keys(checkpoint.point.settings).get("tax.budget", "0")) > 0
        ):
            groups.setdefault((checkpoint.point.arm, checkpoint.point.seed), []).append(checkpoint)
    rows = []
    for (arm, seed), steps in groups.items():
        keys = as_keys(steps[0].point.settings)
        against = keys.get("tax.against", DEFAULT_REFERENCE)
        base = references.get(against, {}).get(seed)
        if against == WARM_START and base is None:
            continue
        taxes = [
            interval([step.tax - base.tax if base else step.tax])
            for step in sorted(steps, key=lambda step: step.point.step)
        ]
        limit = float(keys["tax.budget"])
        largest = max(taxes, key=lambda tax: tax["value"])
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "budget": limit,
                "against": against,
                "final": taxes[-1],
                "largest": largest,
                "kept": budget_verdict(taxes[-1], limit),
            }
        )
    return rows


def budget_verdict(tax: Json, budget: float) -> str:
    """Whether a budget was kept: 'yes' or 'no' by the whole interval, else 'probably' or 'probably not'."""
    if tax["high"] <= budget:
        return "yes"
    if tax["low"] > budget:
        return "no"
    return "probably" if tax["value"] <= budget else "probably not"
