"""What each arm of a study is for, read from its settings: the main arm, an ablation of it, a control, a tax
budget, an imitation.

No arm is known by name, but that the main one is called `grpo` where several could be it.
"""

from collections.abc import Sequence

from eval.study.points import UNTOUCHED, WARM_START, Point

MAIN_KIND = "grpo"
# a kind whose step is the share, in per cent, of the way from the untouched model to an arm's last
INTERPOLATED = "interpolated"
# what the study itself sets for each run; grpo/study/config.py refuses them in a study's settings
MANAGED = ("seed", "run_dir", "checkpoint.snapshots", "eval.probes")
KINDS = (UNTOUCHED, WARM_START, MAIN_KIND, "sft", "best_of_group", INTERPOLATED)
ROLES = ("main", "start", "budget", "ablation", "control")
DEFAULT = "(default)"


def as_keys(settings: Sequence[str]) -> dict[str, str]:
    """Settings by key, the last of a key counting, without those that the study manages.

    >>> as_keys(["loss.kl_coef=0.02", "seed=1", "loss.kl_coef = 0.2"])
    {'loss.kl_coef': '0.2'}
    """
    pairs = (setting.partition("=") for setting in settings)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs if key.strip() not in MANAGED}


def main_arm(points: Sequence[Point]) -> str | None:
    """The arm called `grpo`, else the first of that kind that neither is a control nor has a budget; None
    without one.
    """
    found = {point.arm: as_keys(point.settings) for point in points if point.kind == MAIN_KIND}
    plain = [
        arm
        for arm, keys in found.items()
        if not any(key.startswith("tax.") or key == "reward.control" for key in keys)
    ]
    return MAIN_KIND if MAIN_KIND in found else next(iter([*plain, *found]), None)


def differs(point: Point, main: Point | None) -> tuple[str, ...]:
    """`key=value` of every setting that is not the main arm's, its start included; `(default)` where only the
    main arm has the key.
    """
    own = as_keys(point.settings)
    other = as_keys(main.settings) if main else {}
    own, other = ({**dict.fromkeys([*own, *other], DEFAULT), **keys} for keys in (own, other))
    start = [f"start={point.start}"] if main and point.start != main.start else []
    return (*start, *(f"{key}={value}" for key, value in own.items() if value != other[key]))


def role(point: Point, main: Point | None) -> str:
    """A point's kind where it is none of GRPO, else one of ROLES."""
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
    """Sorting: untouched, warm start, GRPO with the main arm first, then the other kinds; each by name, seed
    and step.
    """
    kind = KINDS.index(point.kind) if point.kind in KINDS else len(KINDS)
    return kind, point.arm != main, point.arm, point.seed, point.step
