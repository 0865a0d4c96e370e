"""Saves the model every N steps for a study: run/snapshots/step-000010/, a plain transformers folder with
cost.json.

A snapshot is a function of its step like everything else, so one that exists is not written again by a
resumed run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from data.prompt import Prompt
from grpo.config import Config
from grpo.runtime.run_log import RunLog
from grpo.runtime.shared_folder import shared_folder
from grpo.stages.context import Run
from grpo.stages.hooks import write_model

COST = "cost.json"


@dataclass(frozen=True)
class Snapshots:
    """Called after every step of the stage train with the number of steps done. `sampling_seconds`: per step,
    spent before the training.
    """

    run: Run
    model: PreTrainedModel
    prompt: Prompt
    log: RunLog
    sampling_seconds: Sequence[float] = ()

    def __call__(self, step: int) -> None:
        config = self.run.config
        every = config.checkpoint.snapshots
        target = self.run.snapshot(step)
        due = every > 0 and (step % every == 0 or step == config.train.num_steps)
        world = self.run.world
        if not due or world.any(world.is_first and target.exists()):
            return
        with shared_folder(target, world) as work:
            write_model(self.run, self.model, self.prompt, work)
            if world.is_first:
                facts = cost(config, self.log.rows, self.sampling_seconds)
                (work / COST).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def cost(
    config: Config, rows: Sequence[dict[str, Any]], sampling_seconds: Sequence[float] = ()
) -> dict[str, float]:
    """What the logged steps took: prompts seen, tokens trained on (a prompt once for its group, in every
    pass), updates, seconds.
    """
    steps = len(rows)
    tokens = sum(row.get("trained_tokens", row["tokens"]) for row in rows)
    return {
        "prompts": steps * config.rollout.num_prompts,
        "tokens": int(tokens) * config.train.passes,
        "updates": steps * config.updates_per_step,
        "seconds": sum(row["seconds"]["step"] for row in rows) + sum(sampling_seconds[:steps]),
    }
