"""What a study will cost, before it starts: hours of training and of evaluation, disk, points. Estimates, as
in grpo/stages/plan.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from eval.report.wording import estimate, estimate_range
from grpo.config import Config
from grpo.config_file import load_config
from grpo.runtime.device import Compute
from grpo.stages.duration import (
    UNCOUNTED_SPREAD,
    model_sizes,
    output_seconds,
    panel_seconds,
    spread,
    stage_seconds,
    step_work,
)
from grpo.stages.machine import Machine
from grpo.stages.memory_bill import FP32_BYTES, ModelSizes, memory_bill
from grpo.stages.plan import packed_tokens
from grpo.study.checkpoints import has_all_points
from grpo.study.config import ArmConfig, Study

BASE_SHARE = 0.3  # of the tokens of the panel that go through the untouched model too
FRONT_SHARE = 0.15  # of the evaluated snapshots are typically on the study's front
# imports, model, corpus, encoders and kernels of a process: six arms of 150 steps with their points took 190 s side by
# side on an H200, of which their steps are 100 to 120 by this bill
START_SECONDS = 30.0
# the same on a CPU, where a run of a tiny model takes 7 s of one core
CPU_START_SECONDS = 7.0
# what a process takes beside its tensors: context, kernels, room between tensors. Of an H200 twelve arms of 8.4 to 9.3 GB
# by their bill wanted more than 140 GB
PROCESS_BYTES = 3e9
Count = Callable[[Config], str]  # the folder whose corpus.json knows the lengths of a configuration's corpus
CHECKPOINT_MODELS = 3  # sizes of a model in a checkpoint: parameters and two moments


class Time(NamedTuple):
    """The estimate of a part; the least and the most that it takes, as shares of that."""

    seconds: float = 0.0
    spread: tuple[float, float] = UNCOUNTED_SPREAD

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the most seconds."""
        return self.spread[0] * self.seconds, self.spread[1] * self.seconds


NO_TIME = Time()


@dataclass(frozen=True)
class ArmBill:
    """One arm of one seed: seconds of training, points, and whether all seeds of it are done."""

    arm: ArmConfig
    seconds: float
    points: int
    steps: int
    prompts: int
    done: bool
    card_bytes: float = 0.0  # of an accelerator's memory at the peak


@dataclass(frozen=True)
class Bill:
    """What the chosen arms and seeds still cost; `peak_bytes`: the most on disk, which is while the last arm is
    trained; `card_memory`: of an accelerator, 0 without one.
    """

    arms: tuple[ArmBill, ...]
    seeds: int
    warm_start_seconds: float
    point_seconds: float
    transfer: Time
    reference_points: int
    peak_bytes: float
    on_accelerator: bool
    sequence: Time = NO_TIME
    start_seconds: float = 0.0
    side_by_side: int = 1
    spread: tuple[float, float] = UNCOUNTED_SPREAD
    card_memory: float = 0.0

    @property
    def points(self) -> int:
        return self.reference_points + self.seeds * sum(arm.points for arm in self.arms if not arm.done)

    @property
    def training_seconds(self) -> float:
        return self.seeds * (self.warm_start_seconds + sum(arm.seconds for arm in self.arms if not arm.done))

    @property
    def seconds(self) -> float:
        return self.own.seconds + self.transfer.seconds + self.sequence.seconds

    @property
    def own(self) -> Time:
        """Of the study's own task: all but transfer and sequence."""
        points = self.points * self.point_seconds
        return Time(self.training_seconds + points + self.start_seconds, self.spread)

    def lines(self) -> list[str]:
        return [
            *self.arm_lines(),
            self.summary(),
            *self.memory_lines(),
            f"      {self.likely_time()} (docs/publish.md#check)",
        ]

    def arm_lines(self) -> list[str]:
        """A line for each arm; nothing for a sequence alone."""
        if not self.arms:
            return []
        width = max(len(bill.arm.name) for bill in self.arms)
        kind = max(len(bill.arm.kind) for bill in self.arms)
        rows = [
            f"  {bill.arm.name:{width}}  {bill.arm.kind:{kind}}  {bill.steps:4} steps x {bill.prompts:4} prompts"
            f"  {estimate(bill.seconds):>9}  {bill.points:3} points  {'done' if bill.done else ''}  {' '.join(bill.arm.settings)}".rstrip()
            for bill in self.arms
        ]
        head = f"arms: {len(self.arms)}, seeds: {self.seeds}; time of training for one of each:"
        return [head, *rows]

    def likely_time(self) -> str:
        """The range of the bill, and of its parts whose texts are those of another corpus."""
        parts = {"transfer": self.transfer, "sequence": self.sequence}
        limits = [part.limits for part in (self.own, *parts.values())]
        low, high = (sum(side) for side in zip(*limits, strict=True))
        others = [f"{name} {estimate_range(*part.limits)}" for name, part in parts.items() if part.seconds]
        of_others = f", of them {' and '.join(others)}" if others and self.arms else ""
        return f"likely {estimate_range(low, high)}{of_others}"

    def memory_lines(self) -> list[str]:
        """What the largest arms that run side by side take of an accelerator, and how many fit."""
        if not self.card_memory or self.side_by_side == 1 or not self.arms:
            return []
        each = sorted((bill.card_bytes + PROCESS_BYTES for bill in self.seeds * self.arms), reverse=True)
        total = sum(each[: self.side_by_side])
        fitting = int(self.card_memory // each[0])
        advice = f"; write side_by_side = {max(1, fitting)}" if total > self.card_memory else ""
        return [f"card  {total / 1e9:.0f} GB at most of {self.card_memory / 1e9:.0f} GB{advice}"]

    def summary(self) -> str:
        """The bill in one line."""
        parts = {
            "transfer": self.transfer.seconds,
            "sequence": self.sequence.seconds,
            "starts": self.start_seconds,
        }
        training = estimate(self.training_seconds)
        points = f"{self.points} points {estimate(self.points * self.point_seconds)}"
        costs = [f"training {training}", points] if self.arms else []
        costs += [f"{name} {estimate(seconds)}" for name, seconds in parts.items() if seconds]
        # there short sequences wait for each other, not for arithmetic
        about = "at least" if self.on_accelerator else "about"
        return (
            f"bill: {about} {estimate(self.seconds)} on this machine ({' + '.join(costs)}), "
            f"{self.peak_bytes / 1e9:.1f} GB of disk at the peak"
            f"{f', {self.side_by_side} arms side by side' if self.side_by_side > 1 else ''}"
        )


def make_bill(
    study: Study,
    arms: Sequence[ArmConfig],
    seeds: Sequence[int],
    folder: Path | None,
    compute: Compute,
    count: Count = lambda config: config.run_dir,
) -> Bill:
    """The bill of these arms and seeds; `folder` is the model's, None when it has not been made. An arm half
    done counts as a whole one. Each corpus has the lengths that `count` finds.
    """
    machine = Machine.of(compute)
    base = study.warm_start_config(seeds[0])
    base = replace(base, run_dir=count(base))
    bills = tuple(arm_bill(study, arm, seeds, folder, machine, base.run_dir) for arm in arms)
    sizes = model_sizes(base, folder)
    is_warm = not arms or all((study.warm_start_folder(seed) / "warm_start").exists() for seed in seeds)
    references = [
        study.point_path("untouched", min(study.seeds), 0),
        *(study.point_path("warm_start", seed, 0) for seed in seeds),
    ]
    missing = sum(not path.exists() for path in references) if arms else 0
    return Bill(
        arms=bills,
        seeds=len(seeds),
        warm_start_seconds=0.0 if is_warm else stage_seconds(base, sizes, machine)[0],
        point_seconds=point_seconds(base, sizes, machine),
        transfer=transfer_time(study, count, len(seeds), folder, machine),
        reference_points=missing,
        peak_bytes=FP32_BYTES * sizes.parameters * models_on_disk(study, bills, len(seeds), base),
        on_accelerator=compute.device.type != "cpu",
        start_seconds=start_seconds(study, bills, len(seeds), is_warm, machine),
        side_by_side=study.side_by_side,
        spread=spread(base),
        card_memory=machine.memory,
        sequence=sequence_time(study, count, len(seeds), folder, machine),
    )


def arm_bill(
    study: Study, arm: ArmConfig, seeds: Sequence[int], folder: Path | None, machine: Machine, counts: str
) -> ArmBill:
    """`counts`: the folder whose corpus.json knows lengths."""
    config = replace(study.arm_config(arm, seeds[0]), run_dir=counts)
    steps = config.train.num_steps
    every = study.snapshot_interval(arm)
    points = len({*range(every, steps + 1, every), steps}) + len(study.interpolate)
    is_trained = all((study.arm_folder(arm.name, seed) / "policy").exists() for seed in seeds)
    done = is_trained and has_all_points(study, [arm], seeds)
    sizes = model_sizes(config, folder)
    seconds = stage_seconds(config, sizes, machine)[1]
    work = step_work(config, packed_tokens(config))
    on_card = memory_bill(sizes, work, machine.format).peak if machine.memory else 0.0
    return ArmBill(arm, seconds, points, steps, config.rollout.num_prompts, done, on_card)


def point_seconds(config: Config, sizes: ModelSizes, machine: Machine) -> float:
    """To evaluate one checkpoint: greedy outputs on the test set, the tax panel, and what of it the untouched
    model reads.
    """
    return output_seconds(config, sizes, machine) + panel_seconds(sizes, machine, 1 + BASE_SHARE)


def other_task(study: Study, path: str, settings: Sequence[str], count: Count) -> Config:
    """The configuration of a task that is not the study's own, with the study's model."""
    config = load_config(path, [*settings, *study.model_overrides(study.seeds[0])])
    return replace(config, run_dir=count(config))


def transfer_time(study: Study, count: Count, seeds: int, folder: Path | None, machine: Machine) -> Time:
    """Of the fine-tuning runs of the other task, their test outputs included; nothing without [transfer]."""
    transfer = study.transfer
    if transfer is None:
        return NO_TIME
    config = other_task(study, transfer.config, transfer.settings, count)
    runs = seeds * len(transfer.starts) * len(transfer.examples)
    sizes = model_sizes(config, folder)
    each = stage_seconds(config, sizes, machine)[0] + output_seconds(config, sizes, machine)
    return Time(runs * (each + process_seconds(machine)), spread(config))


def sequence_time(study: Study, count: Count, seeds: int, folder: Path | None, machine: Machine) -> Time:
    """Of all stages of all recipes, with the test outputs of every task after each; nothing without [sequence]. The range
    is the wide one where the lengths of a corpus are not counted.
    """
    sequence = study.sequence
    if sequence is None:
        return NO_TIME
    configs = [
        other_task(study, path, [*sequence.settings, *settings], count)
        for settings in sequence.recipes.values()
        for path in sequence.configs
    ]
    pairs = [(config, model_sizes(config, folder)) for config in configs]
    training = sum(sum(stage_seconds(*pair, machine)) for pair in pairs)
    outputs = sum(output_seconds(*pair, machine) for pair in pairs)
    widest = max(map(spread, configs), key=lambda own: own[1])
    starts = len(pairs) * process_seconds(machine)
    return Time(seeds * (starts + training + len(sequence.configs) * outputs), widest)


def start_seconds(
    study: Study, bills: Sequence[ArmBill], seeds: int, is_warm: bool, machine: Machine
) -> float:
    """Of the processes of arms that begin: two for each arm, training and evaluation, and one for each warm start that is
    not there. Side by side they begin together, and what the card computes adds up.
    """
    processes = seeds * ((not is_warm) + 2 * sum(not bill.done for bill in bills))
    return process_seconds(machine) * processes / study.side_by_side


def process_seconds(machine: Machine) -> float:
    """Of one process that begins."""
    return START_SECONDS if machine.memory else CPU_START_SECONDS


def models_on_disk(study: Study, bills: Sequence[ArmBill], seeds: int, base: Config) -> float:
    """Sizes of a model that lie on disk at the peak: warm starts, last snapshots, kept ones, the models of a sequence, and
    one arm's own checkpoints in training.
    """
    share = {"all": 1.0, "none": 0.0, "front": FRONT_SHARE}[study.keep_snapshots]
    earlier = [bill.points - len(study.interpolate) - 1 for bill in bills]
    stored = 1 + len(bills) + share * sum(earlier) if bills else 0.0
    if study.sequence is not None:  # a warm start and a policy of each stage
        stored += 2 * len(study.sequence.recipes) * len(study.sequence.configs)
    return (
        seeds * stored
        + max(earlier, default=0) * (1 - share)
        + CHECKPOINT_MODELS * (base.checkpoint.keep + 1)
    )
