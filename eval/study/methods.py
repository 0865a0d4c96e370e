"""Names the method of each trained arm of a study from its settings, and the model that its way begins at.

The names are those of the main table's rows. A remedy against forgetting is a setting after the warm start; one that all
SFT arms of the study have names no row.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from eval.study.points import Point
from eval.study.roles import INTERPOLATED, MAIN_KIND, as_keys

SFT = "SFT"
RECOVERY = "Recovery from the untouched model"
SELF_DISTILLATION = "Self-distillation"
OWN_SAMPLES = "SFT on own samples"
AVERAGE = "Between untouched model and end (WiSE-FT)"
GRPO = "GRPO"
VARIANT = "Other GRPO"
GUIDED = "GRPO with reference texts"
CONTROL = "Controls"
OTHERS = {
    "recovery": RECOVERY, "self_distillation": SELF_DISTILLATION, "best_of_group": OWN_SAMPLES, INTERPOLATED: AVERAGE
}  # fmt: skip
ORDER = (*OTHERS.values(), GRPO, VARIANT, GUIDED)  # behind SFT and its remedies
# after the method of the arm that it begins from
BEHIND = {
    RECOVERY: " + recovery", SELF_DISTILLATION: " + self-distillation", OWN_SAMPLES: " + own samples",
    GUIDED: " + GRPO with reference texts", GRPO: " + GRPO", VARIANT: " + GRPO",
}  # fmt: skip
REMEDIES = {
    "anchor.train": "anchor",
    "replay.train": "replay",
    "protection.train": "",
    "token_loss.train": "",
}
# a remedy without a name has that of its value
VALUES = {"l2": "L2", "ewc": "EWC", "dft": "DFT", "asft": "ASFT"}
OFF = ("none", "nll", "0", "0.0")


def trained_points(points: Sequence[Point]) -> dict[str, Point]:
    """One point of each trained arm, by name; settings and start are the same in all of an arm."""
    return {point.arm: point for point in points if point.is_trained}


def method_names(points: Sequence[Point], main: str) -> dict[str, str]:
    """The method of each trained arm, by its name, in the order of the table; `main` is the study's main arm."""
    arms = trained_points(points)
    of_sft = [set(remedies_of(point).items()) for point in arms.values() if point.kind == "sft"]
    shared = set.intersection(*of_sft) if of_sft else set()
    names = {arm: method_of(point, arms, main, shared) for arm, point in arms.items()}
    behind = [name for end in BEHIND.values() for name in names.values() if name.endswith(end)]
    remedies = [name for name in names.values() if name not in (*ORDER, *behind, CONTROL)]
    order = [SFT, *remedies, *ORDER, *behind, CONTROL]
    return dict(sorted(names.items(), key=lambda pair: order.index(pair[1])))


def remedies_of(point: Point) -> dict[str, str]:
    """The remedies that an arm has, by key."""
    keys = as_keys(point.settings)
    return {key: keys[key] for key in REMEDIES if keys.get(key, "none") not in OFF}


def method_of(
    point: Point, arms: Mapping[str, Point], main: str, shared: AbstractSet[tuple[str, str]]
) -> str:
    """The name of one arm's method; `shared` are the remedies that all SFT arms have."""
    if point.kind == "sft":
        remedies = dict(remedies_of(point).items() - shared)
        names = [
            REMEDIES[key] or VALUES.get(value, value) for key in REMEDIES if (value := remedies.get(key))
        ]
        return " + ".join([SFT, *names])
    method = own_method(point, main)
    if point.start in arms and method in BEHIND:
        return method_of(arms[point.start], arms, main, shared) + BEHIND[method]
    return method


def own_method(point: Point, main: str) -> str:
    """The name of the method of an arm that is not SFT, whatever it begins from."""
    if point.kind != MAIN_KIND:
        return OTHERS.get(point.kind, point.kind)
    keys = as_keys(point.settings)
    if keys.get("reward.control", "none") != "none":
        return CONTROL
    if keys.get("guide.mode", "none") != "none":
        return GUIDED
    return GRPO if point.arm == main else VARIANT


def root_of(arm: str, arms: Mapping[str, Point]) -> str:
    """Where the whole way of an arm begins: "warm_start" or "untouched"."""
    start = arms[arm].start
    return root_of(start, arms) if start in arms else start
