"""Finds the role of each arm of a study from its settings: main arm, ablation, control, tax budget.

Names play no part, except that an arm called `grpo` is the main one.
"""

from collections.abc import Sequence

from eval.study.points import UNTOUCHED, WARM_START, Point
from grpo.old_names import current_name

MAIN_KIND = "grpo"
# a kind whose step is the share, in per cent, of the way from the untouched model to an arm's last
INTERPOLATED = "interpolated"
# the study sets them, never an arm; grpo/study/config.py refuses them in a study's settings
STUDY_SETTINGS = ("seed", "run_dir", "checkpoint.snapshots", "eval.probes")
RIVALS = ("sft", "best_of_group", "recovery", "self_distillation")  # kinds that GRPO is compared with
KINDS = (UNTOUCHED, WARM_START, MAIN_KIND, *RIVALS, INTERPOLATED)
DEFAULT = "(default)"


def as_keys(settings: Sequence[str]) -> dict[str, str]:
    """Settings by key, each with its name of now, the last of a key counting, without those that the study
    manages.

    >>> as_keys(["loss.kl_coef=0.02", "seed=1", "loss.kl_coef = 0.2", "train.anchor=1.0"])
    {'loss.kl_coef': '0.2', 'anchor.train': '1.0'}
    """
    pairs = (setting.partition("=") for setting in settings)
    return {
        current_name(key.strip()): value.strip().strip("\"'")
        for key, _, value in pairs
        if key.strip() not in STUDY_SETTINGS
    }


def main_arm(points: Sequence[Point]) -> str | None:
    """The arm called `grpo`, else the first GRPO arm that is no control and has no budget, else the first.

    None without a GRPO arm.
    """
    settings = {point.arm: as_keys(point.settings) for point in points if point.kind == MAIN_KIND}
    plain = [
        arm
        for arm, keys in settings.items()
        if not any(key.startswith("tax.") or key == "reward.control" for key in keys)
    ]
    return MAIN_KIND if MAIN_KIND in settings else next(iter([*plain, *settings]), None)


def differing_settings(point: Point, main: Point | None) -> tuple[str, ...]:
    """`key=value` of every setting that differs from the main arm's, start included.

    The value is `(default)` where only the main arm has the key.
    """
    own = as_keys(point.settings)
    other = as_keys(main.settings) if main else {}
    own, other = ({**dict.fromkeys([*own, *other], DEFAULT), **keys} for keys in (own, other))
    start = [f"start={point.start}"] if main and point.start != main.start else []
    return (*start, *(f"{key}={value}" for key, value in own.items() if value != other[key]))


def role(point: Point, main: Point | None) -> str:
    """The kind of a point that is not of a GRPO arm, else "main", "start", "budget", "ablation" or "control"."""
    if point.kind != MAIN_KIND:
        return point.kind
    if main is None or point.arm == main.arm:
        return "main"
    keys = as_keys(point.settings)
    if keys.get("reward.control", "none") != "none":
        return "control"
    if float(keys.get("tax.budget", "0")) > 0:
        return "budget"
    return "start" if point.start != main.start else "ablation"


def rank(point: Point, main: str | None) -> tuple[int, bool, str, int, int]:
    """The sort key: untouched, warm start, GRPO (main arm first), other kinds; then name, seed, step."""
    kind = KINDS.index(point.kind) if point.kind in KINDS else len(KINDS)
    return kind, point.arm != main, point.arm, point.seed, point.step
