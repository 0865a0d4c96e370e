"""AdamW, the learning-rate schedule, and one guarded step: clip, step, schedule, zero."""

import math
from collections.abc import Callable

import torch
from torch import nn

from data.errors import TrainingFailure
from grpo.config import OptimConfig
from grpo.engine.sharding import whole

MAX_SKIPPED_IN_A_ROW = 5


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
    """AdamW over all parameters of a model; weight decay on matrices only. Counts updates, those skipped, and
    those skipped in a row.

    `pace` multiplies the learning rate; it is 1 unless a tax budget slows training down
    (grpo/stages/tax_controller.py).
    """

    def __init__(self, model: nn.Module, config: OptimConfig, num_updates: int):
        self.config = config
        self.num_updates = num_updates
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self.parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=config.lr, betas=(config.beta1, config.beta2), fused=True
        )
        self.pace = 1.0
        self.update = 0
        self.skipped = 0
        self.skipped_in_a_row = 0

    def step(self) -> dict[str, float]:
        """One update from the accumulated gradients -> {grad_norm, lr, skipped_updates}. A non-finite
        gradient is skipped and counted.

        Raises TrainingFailure after MAX_SKIPPED_IN_A_ROW such updates in a row.
        """
        lr = self.pace * learning_rate(self.config, self.update, self.num_updates)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)))
        self.update += 1
        if math.isfinite(norm):
            for group in self.adamw.param_groups:
                group["lr"] = lr
            self.adamw.step()
            self.skipped_in_a_row = 0
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
        self.adamw.zero_grad(set_to_none=True)
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingFailure(
                f"{MAX_SKIPPED_IN_A_ROW} updates in a row had a gradient that is not finite and were skipped, so the parameters are the "
                f"last good ones; lower the learning rate ({lr:g}) under a new run_dir, where a copy of warm_start/ saves the warm start"
            )
        return {"grad_norm": norm, "lr": lr, "skipped_updates": float(self.skipped)}
