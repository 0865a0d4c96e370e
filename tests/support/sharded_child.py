"""One of several processes of test_sharding.py, or all the work in one: `python sharded_child.py FOLDER` under
torchrun's variables. What it computes is written for each parallel.mode.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from tiny import EOS, initialise, tiny_gemma
from tiny_session import TWO_PASSES
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from data.stream import PromptStream
from grpo.advantage import group_advantages
from grpo.anchor import Anchor, AnchorFunction
from grpo.config import Config, LossConfig, OptimConfig, RolloutConfig, TrainConfig
from grpo.engine.model import frozen_copy, parameter_hash
from grpo.engine.sampler import Sampling, generate
from grpo.engine.sharding import shard, whole
from grpo.loop import accumulate
from grpo.loss import OBJECTIVES
from grpo.minibatch import iter_minibatches, score
from grpo.optim import Optimizer
from grpo.records import Experience, LoopState
from grpo.runtime import device
from grpo.runtime.parallel import World, join, leave
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.training import Training

PROMPTS = [[2, *range(40, 41 + 5 * i % 11)] for i in range(8)]
STOPS = (1, *range(10, 60))
TEXTS = [[40, 41, 42, 43, 44], [50, 51], [60] * 9]  # an update's anchor: of 4 processes one has no text
PAIRS = [([2, *range(70, 72 + i)], [*range(80, 82 + 3 * i % 7), 1]) for i in range(6)]
TOKENS = 40  # of a forward pass: some processes need more passes than others
COMPUTE = device.choose("cpu")


def narrow_gpt2(seed: int = 0) -> PreTrainedModel:
    """fp64. No size is a multiple of 4, and one is 3, so of 4 processes one has nothing of that matrix."""
    config = GPT2Config(
        vocab_size=259, n_positions=256, n_embd=30, n_inner=3, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, pad_token_id=0, eos_token_id=EOS, bos_token_id=2,
    )  # fmt: skip
    return initialise(lambda: GPT2LMHeadModel(config), seed).double()


def spread(model: PreTrainedModel, world: World) -> PreTrainedModel:
    shard(model, world)
    return model


def anchor_of(world: World) -> AnchorFunction:
    base = spread(narrow_gpt2(1).requires_grad_(False), world)
    return Anchor(base, PromptStream(TEXTS, 3, 0), [2], 0.7, 12, COMPUTE, world)


def whole_gradients(model: PreTrainedModel, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}:{name}": whole(p.grad).clone() for name, p in model.named_parameters()}


def whole_parameters(model: PreTrainedModel, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}:{name}": whole(p.detach()).clone() for name, p in model.named_parameters()}


def update_config(objective: str = "grpo") -> Config:
    loss = LossConfig(objective=objective)  # type: ignore[arg-type]
    train = TrainConfig(
        max_tokens_per_pass=TOKENS, num_steps=3, optim=OptimConfig(lr=1e-3, max_grad_norm=0.1)
    )
    return Config(rollout=RolloutConfig(num_prompts=8, group_size=3, max_gap=99.0), loss=loss, train=train)


def updates(world: World, folder: Path) -> dict[str, Tensor]:
    """Gradients of one update of 8 ragged groups of 3 and an anchor, for each objective; then the parameters after three
    updates of one of them.
    """
    rollout = generate(narrow_gpt2().float(), PROMPTS, Sampling(3, 9, 1.0, STOPS), seed=(0,))
    noise = 0.2 * torch.randn(2, 24, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    logps = (rollout.sampling_logps.double() * 64).round() / 64  # the same on any number of threads
    experience = Experience(rollout, rewards, {}, logps + noise[1], logps + noise[0])
    policy = spread(narrow_gpt2(), world)
    result: dict[str, Tensor] = {}
    for objective in (*OBJECTIVES, "steps"):
        config = update_config("grpo" if objective == "steps" else objective)
        optimizer = Optimizer(policy, config.train.optim, 3)
        with RunLog(folder / f"{objective}-{world.mode}-{world.rank}", "train", 0, 1, {}, quiet=True) as log:
            training = Training(policy, optimizer, log, COMPUTE, anchor_of(world), world)
            for _ in range(3 if objective == "steps" else 1):
                (minibatch,) = iter_minibatches(
                    experience,
                    group_advantages(rewards, 1e-3),
                    passes=1,
                    prompts_per_update=0,
                    aggregation=OBJECTIVES[config.loss.objective].aggregation,
                    seed=(0, 0),
                )
                accumulate(config, training, minibatch, 0.1)
                if objective == "steps":
                    optimizer.step()
        if objective == "steps":
            result |= whole_parameters(policy, objective)
        else:
            result |= whole_gradients(policy, objective)
            policy.zero_grad()
    return result
