"""The whole step, by the real loop: seconds and minor page faults of each phase from the loop's own log."""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counts import Lengths, shape_of, step_flops, uniform
from benchmarks.subject import OneBatch, Subject, example, prompts
from benchmarks.timing import Row, minor_faults
from grpo.config import Config, OptimConfig, RolloutConfig, TrainConfig
from grpo.engine.model import frozen_copy
from grpo.loop import train_grpo
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime.device import Compute, synchronise
from grpo.runtime.run_log import RunLog
from grpo.samples import sampling_of
from grpo.training import Task, Training

LEARNING_RATE = 1e-9  # the policy stays what it is, by whatever number of steps


@dataclass(frozen=True)
class StepSize:
    """Prompts x group x new tokens a step, behind prompts of `prompt` tokens, at most `max_tokens` packed
    tokens in a pass.
    """

    prompts: int
    group: int
    new: int
    prompt: int
    max_tokens: int

    @property
    def lengths(self) -> Lengths:
        return uniform(self.prompts, self.prompt, self.group, self.new)

    def __str__(self) -> str:
        return (
            f"{self.prompts} prompts of {self.prompt} tokens x {self.group} completions x {self.new} tokens"
        )


class FaultLog(RunLog):
    """Counts minor page faults by phase as well; `faults` has one dictionary a step. A phase ends when its work
    on an accelerator has.
    """

    def __init__(self, folder: Path, num_steps: int, compute: Compute):
        self.compute = compute
        self.faults: list[dict[str, float]] = []
        super().__init__(folder, "train", 0, num_steps, {}, quiet=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = minor_faults()
        with super().phase(name):
            yield
            synchronise(self.compute)
        self._current[name] += minor_faults() - before

    def _clear(self) -> None:
        super()._clear()
        self._current: dict[str, float] = defaultdict(float)
        self._begun = minor_faults()

    def write(self, step: int, samples: list[dict] | None = None) -> None:
        self.faults.append({**self._current, "step": minor_faults() - self._begun})
        super().write(step, samples)


def config_of(size: StepSize, num_steps: int) -> Config:
    return Config(
        rollout=RolloutConfig(num_prompts=size.prompts, group_size=size.group, max_new_tokens=size.new),
        train=TrainConfig(
            num_steps=num_steps, max_tokens_per_pass=size.max_tokens, optim=OptimConfig(lr=LEARNING_RATE)
        ),
    )


class Stepper:
    """A policy in training, with its reference and its optimiser's moments; runs steps of any size."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.reference = frozen_copy(subject.policy)
        self.optimizer = Optimizer(subject.policy, OptimConfig(lr=LEARNING_RATE), num_updates=1)

    def run(self, size: StepSize, num_steps: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """Seconds and page faults by phase ("step" is the whole), one dictionary a step."""
        log = self.log_of(size, num_steps)
        return [row["seconds"] for row in log.rows], log.faults

    def log_of(self, size: StepSize, num_steps: int) -> FaultLog:
        """The whole log of so many steps."""
        subject = self.subject
        config = config_of(size, num_steps)
        batch = OneBatch([example(ids) for ids in prompts(subject, size.prompts, size.prompt)])
        with tempfile.TemporaryDirectory() as folder:
            log = FaultLog(Path(folder), num_steps, subject.compute)
            training = Training(subject.policy, self.optimizer, log, subject.compute)
            sampling = sampling_of(config, subject.prompt)
            task = Task(batch, subject.prompt, subject.reward, self.reference, sampling)
            with log:
                train_grpo(config, training, task, LoopState())
        return log


def step_rows(stepper: Stepper, size: StepSize, num_steps: int) -> list[Row]:
    """A line for each phase and one for the whole step: medians, after a step that does not count."""
    flops = step_flops(shape_of(stepper.subject.policy), size.lengths)
    seconds, faults = (steps[1:] for steps in stepper.run(size, num_steps + 1))
    rows = []
    for name, work in [*flops.items(), ("step", sum(flops.values()))]:
        times = [step[name] for step in seconds]
        median = statistics.median(times)
        spread = (max(times) - min(times)) / median
        rows.append(
            Row(name, median, spread, work, 0.0, "read", statistics.median(step[name] for step in faults))
        )
    return rows
