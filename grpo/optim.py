"""The optimiser of a training loop: the learning-rate schedule, one guarded step, and the moments by name."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from data.errors import InputError, TrainingFailure
from grpo.config import EngineConfig, OptimConfig
from grpo.layer_rates import rate_shares
from grpo.parameter_steps import Protection, no_protection
from grpo.updates import Moments, make_updater

T = TypeVar("T")
PLAIN = EngineConfig()
MAX_SKIPPED_IN_A_ROW = 5
SETTINGS = {  # of the kinds of moments
    "none": 'optim.name = "sgd"',
    "8bit": 'engine.moments = "8bit"',
    "fp32": 'optim.name = "adamw" and engine.moments = "fp32"',
}


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def learning_rate(config: OptimConfig, update: int, num_updates: int) -> float:
    """Learning rate of update 0, 1, ...: a pure function, so that a resumed run needs no scheduler state.

    >>> learning_rate(OptimConfig(lr=1.0, schedule="linear", warmup_steps=2), 1, 10)
    1.0
    """
    if update < config.warmup_steps:
        return config.lr * (update + 1) / config.warmup_steps
    progress = (update - config.warmup_steps) / max(1, num_updates - config.warmup_steps)
    floor = config.final_lr_share
    return config.lr * (floor + (1 - floor) * SCHEDULES[config.schedule](min(1.0, progress)))


class Optimizer:
    """AdamW or SGD over the parameters of a model that are trained (grpo/layer_rates.py); weight decay on matrices
    only. Counts updates, those skipped, and those skipped in a row.

    `pace` multiplies the learning rate; it is 1 unless a tax budget slows training down
    (grpo/stages/tax_controller.py). `protection` has the last word on every parameter of a step.
    """

    def __init__(
        self,
        model: nn.Module,
        config: OptimConfig,
        num_updates: int,
        engine: EngineConfig = PLAIN,
        protection: Protection = no_protection,
    ):
        shares = rate_shares(model, config)
        parameters = {name: p for name, p in model.named_parameters() if name in shares}
        self.config = config
        self.moments_kind = "none" if config.name == "sgd" else engine.moments
        self.num_updates = num_updates
        self.parameters = list(parameters.values())
        self.changes_in_backward = engine.step_in_backward
        self.updater = make_updater(model, parameters, config, engine, protection, shares)
        self.pace = 1.0
        self.is_changing = False  # the parameters: from the first that an update changes to its end
        self.update = 0
        self.skipped = 0
        self.skipped_in_a_row = 0

    @property
    def rate(self) -> float:
        """The learning rate of the update that comes next."""
        return self.pace * learning_rate(self.config, self.update, self.num_updates)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add the gradient of `loss`; `is_last`: no other one is added before `step`. With
        engine.step_in_backward the parameters are updated on the way.
        """
        self.is_changing = is_last and self.changes_in_backward
        with self.updater.last_pass(self.rate) if is_last else nullcontext():
            loss.backward()

    def step(self) -> dict[str, float]:
        """One update from the accumulated gradients -> {grad_norm, lr, skipped_updates}. A non-finite
        gradient is skipped and counted.

        Raises TrainingFailure after MAX_SKIPPED_IN_A_ROW such updates in a row.
        """
        rate = self.rate
        self.is_changing = True
        norm = self.updater.step(rate, self.config.max_grad_norm)
        self.is_changing = False
        self.update += 1
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingFailure(
                f"{MAX_SKIPPED_IN_A_ROW} updates in a row had a gradient that is not finite and were skipped, so the parameters are the "
                f"last good ones; lower the learning rate ({rate:g}) under a new run_dir, where a copy of warm_start/ saves the warm start"
            )
        return {"grad_norm": norm, "lr": rate, "skipped_updates": float(self.skipped)}

    def moments(self) -> Moments:
        """What the optimiser keeps of each parameter, by name; none of those without an update. A moment of 8
        bits has several tensors. They are not copied.
        """
        return self.updater.moments()

    def load_moments(self, moments: Moments) -> None:
        """Take over the moments of an optimiser of the same kind, bit for bit; they are copied."""
        self.updater.load_moments(moments)

    def check_kind(self, kind: str, place: Path) -> None:
        """Raises InputError where the moments at `place` are of another kind than those of this optimiser."""
        if kind != self.moments_kind:
            remedy = f"restore that setting, or delete {place.parent} to start this stage anew"
            raise InputError(f"{place}: its moments were made with {SETTINGS[kind]}; {remedy}")


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last one.

    >>> list(with_last("ab"))
    [('a', False), ('b', True)]
    """
    iterator = iter(items)
    for item in iterator:
        for following in iterator:
            yield item, False
            item = following
        yield item, True
