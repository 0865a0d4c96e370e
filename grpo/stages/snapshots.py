"""Saves the model every N steps for a study: run/snapshots/step-000010/, a plain transformers folder with
cost.json.

A snapshot is a function of its step like everything else, so one that exists is not written again by a
resumed run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from data.prompt import Prompt
from grpo.config import Config
from grpo.runtime.run_log import RunLog
from grpo.runtime.shared_folder import shared_folder
from grpo.stages.best_samples import SampledStep
from grpo.stages.context import Run
from grpo.stages.hooks import write_model
from grpo.step_metrics import FED

COST = "cost.json"


@dataclass(frozen=True)
class Snapshots:
    """Called after every step of the stage train with the number of steps done. `samples`: per step, drawn before the
    training.
    """

    run: Run
    model: PreTrainedModel
    prompt: Prompt
    log: RunLog
    samples: Sequence[SampledStep] = ()

    def __call__(self, step: int) -> None:
        config = self.run.config
        every = config.checkpoint.snapshots
        target = self.run.snapshot(step)
        due = every > 0 and (step % every == 0 or step == config.train.num_steps)
        world = self.run.world
        if not due or world.any(world.is_first and target.exists()):
            return
        with self.log.phase("snapshot"), shared_folder(target, world) as work:
            write_model(self.run, self.model, self.prompt, work)
            if world.is_first:
                facts = cost(config, self.log.rows, self.samples)
                (work / COST).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def cost(
    config: Config, rows: Sequence[dict[str, Any]], samples: Sequence[SampledStep] = ()
) -> dict[str, float]:
    """What the logged steps took: prompts seen, tokens, updates, seconds.

    tokens          trained on: in every pass a prompt once for its group, and the general texts of the anchor
    sampled_tokens  of all completions
    scored_tokens   read without a gradient under the reference or teacher, and under the policy where a rollout is
                    used again
    """
    own = samples[: len(rows)]
    # refreshed samples are drawn within a step, whose seconds have them
    before = 0.0 if config.train.refresh_every else sum(step.seconds for step in own)
    return {
        "prompts": len(rows) * config.rollout.num_prompts,
        "tokens": round(sum(fed_tokens(config, row) + anchor_tokens(config, row) for row in rows)),
        "sampled_tokens": round(
            sum(row.get("sampled_tokens", row["tokens"]) for row in rows if "trained_tokens" in row)
            + sum(step.tokens for step in own)
        ),
        "scored_tokens": round(sum(scored_tokens(config, row) for row in rows)),
        "updates": len(rows) * config.updates_per_step,
        "seconds": sum(row["seconds"]["step"] for row in rows) + before,
    }


def fed_tokens(config: Config, row: Mapping[str, Any]) -> float:
    """Tokens of a step's forward passes that have a backward pass, without the anchor's."""
    completions = config.rollout.num_prompts * config.rollout.group_size
    one_pass = row[FED] * completions if FED in row else row.get("trained_tokens", row["tokens"])
    return float(one_pass * config.train.passes)


def scored_tokens(config: Config, row: Mapping[str, Any]) -> float:
    """Tokens of a step's passes without a gradient. Those of GRPO are those of training, without the reference texts of
    a guide.
    """
    if "scored_tokens" in row:
        return float(row["scored_tokens"])
    if "trained_tokens" not in row:
        return 0.0
    one_pass = (
        row["trained_tokens"]
        if config.guide.mode != "none"
        else fed_tokens(config, row) / config.train.passes
    )
    return float(one_pass * (1 + config.reuses_rollout))


def anchor_tokens(config: Config, row: Mapping[str, Any]) -> float:
    """Tokens of general text that a step's updates were anchored to."""
    return float(row.get("anchor_tokens", 0.0) * config.updates_per_step)
