"""Which settings a run folder binds: those that shape a stage which the folder has begun.

A stage that has begun must end by the settings it began with, and what it made must not be taken for the work of
other settings. All else may change between two starts: the settings of later stages, the machine, how often a run
saves, and what only makes it faster or smaller. Rounding may differ then, so a changed start is exact to the last
bits only where nothing changed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grpo.config import Config
from grpo.runtime.old_folders import COMMAND_STAGES

Stage = Literal["sft", "train", "eval"]
TRAINING: tuple[Stage, ...] = ("sft", "train")
ALL: tuple[Stage, ...] = ("sft", "train", "eval")
SCORED: tuple[Stage, ...] = ("train", "eval")
NONE: tuple[Stage, ...] = ()
RESULTS = {"sft": ("warm_start",), "train": ("policy", "policy_best", "snapshots")}

# a section or a setting -> the stages that it shapes; the longest name counts
SHAPES: Mapping[str, tuple[Stage, ...]] = {
    "seed": TRAINING,  # the comparison of an evaluation is made anew each time
    "run_dir": NONE,
    "device": NONE,
    "threads": NONE,
    "data": ALL,
    "prompt": ALL,
    "model": ALL,
    "sft": ("sft",),
    "sft.max_completion_tokens": TRAINING,  # of guides too
    "sft.max_tokens_per_pass": NONE,
    "rollout": ("train",),
    "rollout.parts": NONE,
    "reward": ("train",),
    "reward.encoder": SCORED,
    "reward.encoders": SCORED,
    "reward.held_out": SCORED,
    "reward.identifier": SCORED,
    "reward.metrics": SCORED,
    "reward.metric_format": SCORED,
    "reward.one_metric_at_a_time": NONE,
    "reward.min_share": SCORED,
    "advantage": ("train",),
    "loss": ("train",),
    "guide": ("train",),
    "train": ("train",),
    "train.max_tokens_per_pass": NONE,
    "engine": NONE,
    "engine.number_format": ALL,
    "engine.gradients": TRAINING,
    "engine.moments": TRAINING,
    "parallel": NONE,
    "anchor": TRAINING,
    "anchor.sft": ("sft",),
    "anchor.train": ("train",),
    "token_loss": TRAINING,
    "token_loss.sft": ("sft",),
    "token_loss.train": ("train",),
    "replay.sft": ("sft",),
    "replay.train": ("train",),
    "protection": TRAINING,
    "protection.sft": ("sft",),
    "protection.train": ("train",),
    "tax": ("train",),
    "tax.text": TRAINING,
    "tax.texts": TRAINING,
    "log": NONE,
    "checkpoint": NONE,
    "checkpoint.snapshots": ("train",),
    "eval": ("eval",),
    "eval.every": ("train",),
    "eval.best_by": ("train",),
    "eval.dev_items": ("train",),
    "eval.max_new_tokens": SCORED,
    "eval.batch_size": NONE,
    "eval.bootstrap_samples": NONE,  # as of seed
    "eval.by_document": NONE,
}

ROUNDS = (
    "device", "threads", "engine", "parallel.mode", "sft.max_tokens_per_pass", "train.max_tokens_per_pass", "rollout.parts",
)  # fmt: skip


def reads_general_text(config: Config, stage: Stage) -> bool:
    """Whether a training stage reads general texts."""
    protects = getattr(config.protection, stage) in ("shield", "ewc")
    recovers = stage == "train" and (config.tax.budget > 0 or config.train.method == "recovery")
    return bool(getattr(config.anchor, stage) or getattr(config.replay, stage) or protects or recovers)


def pulls(config: Config, stage: Stage) -> bool:
    """Whether a training stage pulls parameters back."""
    return getattr(config.protection, stage) in ("l2", "ewc")


def scores_dev(config: Config, stage: Stage) -> bool:
    """Whether the stage decodes the dev set, or is the evaluation itself."""
    return stage == "eval" or config.eval.every > 0


# settings that shape a stage only where it uses them
USED: Mapping[str, Callable[[Config, Stage], bool]] = {
    "anchor.batch_size": reads_general_text,
    "anchor.text": reads_general_text,
    "anchor.texts": reads_general_text,
    "anchor.max_tokens": reads_general_text,
    "tax.text": reads_general_text,
    "tax.texts": reads_general_text,
    "protection.texts": reads_general_text,
    "protection.strength": pulls,
    "token_loss.kl_coef": lambda config, stage: getattr(config.token_loss, stage) == "asft",
    "eval.best_by": scores_dev,
    "eval.dev_items": scores_dev,
    "eval.max_new_tokens": scores_dev,
}


def stages_of(key: str, config: Config) -> tuple[Stage, ...]:
    """The stages of `config` that the setting `key` ("section.name") shapes."""
    parts = key.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    all_stages = next((SHAPES[name] for name in names if name in SHAPES), ALL)  # a setting of another version
    is_used = USED.get(key, lambda config, stage: True)
    return tuple(stage for stage in all_stages if is_used(config, stage))


@dataclass(frozen=True)
class Progress:
    """The stages that a run folder has begun, and those of them that are not finished."""

    begun_stages: frozenset[Stage] = frozenset()
    open_stages: frozenset[Stage] = frozenset()


def progress_of(folder: Path) -> Progress:
    """What a run folder has begun: a stage with a checkpoint or a result."""
    resumable = {stage for stage in TRAINING if has_checkpoint(folder, stage)}
    complete = {stage for stage in TRAINING if (folder / RESULTS[stage][0]).exists()}
    parts = {stage for stage in TRAINING if any((folder / name).exists() for name in RESULTS[stage])}
    measures: set[Stage] = {"eval"} if any((folder / "eval").rglob("*.json")) else set()
    return Progress(frozenset(resumable | parts | measures), frozenset((resumable | parts) - complete))


def has_checkpoint(folder: Path, stage: Stage) -> bool:
    """Whether a training stage has saved its state, under its name of now or of earlier versions."""
    names = (stage, *(old for old, new in COMMAND_STAGES.items() if new == stage))
    return any(any((folder / "checkpoints" / name).glob("step-*")) for name in names)


@dataclass(frozen=True)
class Change:
    """A setting that differs from config.json of a run folder."""

    key: str
    old: Any
    new: Any

    @property
    def may_round(self) -> bool:
        """Whether the same numbers are now added in another order, or by another machine."""
        return any(self.key == name or self.key.startswith(f"{name}.") for name in ROUNDS)


def refused_changes(
    changes: list[Change], config: Config, progress: Progress
) -> Iterator[tuple[Change, Stage]]:
    """The changes that a folder forbids, each with the first stage that it would change."""
    for change in changes:
        stages = [stage for stage in stages_of(change.key, config) if stage in progress.begun_stages]
        if stages and not is_longer(change, config, progress):
            yield change, stages[0]


def is_longer(change: Change, config: Config, progress: Progress) -> bool:
    """Whether a change only adds steps to a stage that is not finished, and the steps it has done stay as they are:
    no learning rate and no weight of the loss falls towards the last step.
    """
    stage, _, name = change.key.partition(".")
    if name != "num_steps" or stage not in progress.open_stages or not isinstance(change.old, int):
        return False
    part = config.sft if stage == "sft" else config.train
    falls = stage == "train" and config.guide.mode == "term"
    return change.new > change.old and part.optim.schedule == "constant" and not falls
