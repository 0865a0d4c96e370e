"""Models in shares, and a ragged update for them: what the processes of test_sharding.py work on."""

import torch
from tiny import EOS, capped_gemma, initialise, tiny_gemma, tiny_llama
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from data.stream import PromptStream
from grpo.advantage import group_advantages
from grpo.anchor import Anchor, AnchorFunction
from grpo.config import Config, LossConfig, OptimConfig, RolloutConfig, TrainConfig
from grpo.engine.sampler import Sampling, generate
from grpo.engine.sharding import shard
from grpo.records import Experience
from grpo.runtime import device
from grpo.runtime.parallel import World

PROMPTS = [[2, *range(40, 41 + 5 * i % 11)] for i in range(8)]
STOPS = (1, *range(10, 60))
TEXTS = [[40, 41, 42, 43, 44], [50, 51], [60] * 9]  # an update's anchor: of 4 processes one has no text
PAIRS = [([2, *range(70, 72 + i)], [*range(80, 82 + 3 * i % 7), 1]) for i in range(6)]
TOKENS = 40  # of a forward pass: some processes need more passes than others
COMPUTE = device.choose("cpu")
STRICT = OptimConfig(lr=1e-3, max_grad_norm=0.1)


def narrow_gpt2(seed: int = 0) -> PreTrainedModel:
    """fp64. No size is a multiple of 4, and one is 3, so of 4 processes one has nothing of that matrix."""
    config = GPT2Config(
        vocab_size=259, n_positions=256, n_embd=30, n_inner=3, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, pad_token_id=0, eos_token_id=EOS, bos_token_id=2,
    )  # fmt: skip
    return initialise(lambda: GPT2LMHeadModel(config), seed).double()


SAMPLERS = {  # name -> model, number format, engine.fast_decode
    "whole": (tiny_gemma, "fp32", True),
    "whole16": (tiny_llama, "fp16", True),
    "slots": (tiny_gemma, "fp32", True),
    "layers": (tiny_gemma, "fp32", False),
    "cramped": (tiny_gemma, "fp32", True),
    "unknown": (narrow_gpt2, "fp32", True),
    "capped": (capped_gemma, "fp32", True),
}


def spread(model: PreTrainedModel, world: World) -> PreTrainedModel:
    shard(model, world)
    return model


def anchor_of(world: World) -> AnchorFunction:
    base = spread(narrow_gpt2(1).requires_grad_(False), world)
    return Anchor(base, PromptStream(TEXTS, 3, 0), [2], 0.7, 12, COMPUTE, world)


def update_config(objective: str) -> Config:
    loss = LossConfig(objective=objective)  # type: ignore[arg-type]
    train = TrainConfig(max_tokens_per_pass=TOKENS, optim=STRICT)
    return Config(rollout=RolloutConfig(num_prompts=8, group_size=3, max_gap=99.0), loss=loss, train=train)


def ragged_experience() -> tuple[Experience, Tensor]:
    """8 groups of 3 and their advantages, in fp64."""
    rollout = generate(narrow_gpt2().float(), PROMPTS, Sampling(3, 9, 1.0, STOPS), seed=(0,))
    noise = 0.2 * torch.randn(2, 24, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    logps = (rollout.sampling_logps.double() * 64).round() / 64  # the same on any number of threads
    return Experience(rollout, rewards, {}, logps + noise[1], logps + noise[0]), group_advantages(
        rewards, 1e-3
    )
