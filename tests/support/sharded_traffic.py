"""What a process sends in a step of test_sharding.py: counted, and by the formulas of grpo/runtime/traffic.py."""

from pathlib import Path
from unittest import mock

import torch
from ragged_update import COMPUTE, PROMPTS, SAMPLERS, STOPS, STRICT, TEXTS, TOKENS, spread, update_config
from torch import Tensor
from transformers import PreTrainedModel
from wire import PassCount, Wire

from data.stream import PromptStream
from grpo.anchor import Anchor
from grpo.engine import chunked_head, logprob, sampler
from grpo.engine.model import as_policy
from grpo.engine.products import FORMATS
from grpo.engine.sampler import Sampling, generate
from grpo.loop import accumulate
from grpo.minibatch import minibatches_of, score
from grpo.optim import Optimizer
from grpo.records import Experience, Rollout
from grpo.runtime.parallel import World
from grpo.runtime.run_log import RunLog
from grpo.runtime.traffic import GatheredBytes, Passes, sent_in_data_mode, sent_in_fsdp_mode
from grpo.training import Training


def update(
    world: World, policy: PreTrainedModel, base: PreTrainedModel, rollout: Rollout, folder: Path
) -> Passes:
    """Score a rollout under both models and make one update with an anchor -> the passes that ran."""
    anchor = Anchor(base, PromptStream(TEXTS, 3, 0), [2], 0.7, 12, COMPUTE, world)
    with (
        PassCount(logprob, chunked_head) as count,
        RunLog(folder / f"{world.rank}", "train", 0, 1, {}, quiet=True) as log,
    ):
        logps = [score(model, rollout, 1.0, TOKENS, world=world) for model in (policy, base)]
        experience = Experience(rollout, torch.rand(8, 3), {}, *logps)
        (minibatch,) = minibatches_of(update_config("grpo"), experience, torch.ones(8, 3), 0)
        training = Training(policy, Optimizer(policy, STRICT, 1), log, COMPUTE, anchor, world)
        accumulate(update_config("grpo"), training, minibatch, 0.1)
    anchors = count.passes["head_kl", True]
    scored = count.passes["target_logps", False]
    texts = len(anchor.states.passes) if anchor.states else 0  # the untouched model runs over its texts once
    return Passes(count.passes["target_logps", True] + anchors, anchors, scored // 2, scored // 2 + texts)


def traffic(world: World, folder: Path) -> dict[str, Tensor]:
    """(R, 2) counted and expected bytes: of a rollout and an update for each of several models, or of gradients."""
    rows = []
    for name in ("whole16", "slots", "layers") if world.is_sharded else ("slots",):
        make, format, is_fast = SAMPLERS[name]
        policy, base = (as_policy(make(), torch.device("cpu"), format=FORMATS[format]) for _ in range(2))
        spread(policy, world)
        spread(base.requires_grad_(False), world)
        both = GatheredBytes.of(policy, world.size), GatheredBytes.of(base, world.size)
        with Wire(world.size) as wire, mock.patch.object(sampler, "uses_graph", return_value=name == "slots"):
            rollout = generate(policy, PROMPTS, Sampling(3, 9, 1.0, STOPS, fast=is_fast), (0,))
        passes = (
            Passes(rollouts=1, captured=int(name == "slots"))
            if is_fast
            else Passes(tokens=int(rollout.lengths.max()))
        )
        rows.append((wire.in_shares, sent_in_fsdp_mode(*both, passes, world.size)))
        with Wire(world.size) as wire:
            passes = update(world, policy, base, rollout, folder)
        rows.append((wire.in_shares, sent_in_fsdp_mode(*both, passes, world.size)))
        if not world.is_sharded:
            parameters = sum(p.numel() for p in policy.parameters())
            rows = [(wire.for_all, sent_in_data_mode(parameters, 1, world.size))]
    return {"bytes": torch.tensor(rows, dtype=torch.float64)}
