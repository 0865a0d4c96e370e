"""One of several processes of test_sharding.py, or all the work in one: `python sharded_child.py FOLDER` under
torchrun's variables. What it computes is written for each parallel.mode.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from ragged_update import (
    COMPUTE,
    PAIRS,
    PROMPTS,
    SAMPLERS,
    STOPS,
    STRICT,
    TOKENS,
    anchor_of,
    narrow_gpt2,
    ragged_experience,
    spread,
    update_config,
)
from safetensors.torch import save_file
from sharded_traffic import traffic
from tiny import byte_tokenizer, tiny_llama
from tiny_session import TWO_PASSES, Rewards, Session, Texts, variety
from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from data.stream import PromptStream
from grpo.config import ParallelConfig, SFTConfig
from grpo.engine import gathering, greedy, sampler
from grpo.engine.greedy import DecodeSettings, greedy_outputs
from grpo.engine.logprob import completion_logps
from grpo.engine.model import as_policy, parameter_hash
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS
from grpo.engine.sampler import Sampling, generate
from grpo.engine.sharding import is_share, whole
from grpo.loop import accumulate
from grpo.loss import OBJECTIVES
from grpo.minibatch import minibatches_of, score
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime.parallel import World, balanced_shares, connect, leave, meet
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.training import Training


class CountingWorld(World):
    """Counts the passes that only keep step."""

    filled = 0

    def in_step(self, passes: list[list[int]]) -> list[list[int]]:
        result = super().in_step(passes)
        CountingWorld.filled += len(result) - len(passes)
        return result


def whole_gradients(model: PreTrainedModel, prefix: str) -> dict[str, Tensor]:
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {f"{prefix}:{name}": whole(x).clone() for name, x in gradients.items() if x is not None}


def whole_parameters(model: PreTrainedModel, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}:{name}": whole(p.detach()).clone() for name, p in model.named_parameters()}


def updates(world: World, folder: Path) -> dict[str, Tensor]:
    """Gradients of one update of 8 ragged groups of 3 and an anchor, for each objective."""
    experience, advantages = ragged_experience()
    policy = spread(narrow_gpt2(), world)
    optimizer = Optimizer(policy, STRICT, 3)
    result: dict[str, Tensor] = {}
    for objective in OBJECTIVES:
        with RunLog(folder / f"{objective}-{world.rank}", "train", 0, 1, {}, quiet=True) as log:
            training = Training(policy, optimizer, log, COMPUTE, anchor_of(world), world)
            (minibatch,) = minibatches_of(update_config(objective), experience, advantages, 0)
            accumulate(update_config(objective), training, minibatch, 0.1)
        result |= whole_gradients(policy, objective)
        policy.zero_grad()
    return result


def steps(world: World, folder: Path) -> dict[str, Tensor]:
    """Parameters after three updates, whose gradients are cut to a norm of 0.1, then after three of SFT, each with an
    anchor; norms of the gradients.
    """
    experience, advantages = ragged_experience()
    policy = spread(narrow_gpt2(), world)
    optimizer = Optimizer(policy, STRICT, 3)
    norms = []
    with RunLog(folder / f"steps-{world.rank}", "train", 0, 3, {}, quiet=True) as log:
        training = Training(policy, optimizer, log, COMPUTE, anchor_of(world), world)
        for step in range(3):
            (minibatch,) = minibatches_of(update_config("grpo"), experience, advantages, step)
            accumulate(update_config("grpo"), training, minibatch, 0.1)
            norms.append(optimizer.step()["grad_norm"])
    result = whole_parameters(policy, "grpo") | {"norms": torch.tensor(norms, dtype=torch.float64)}
    with RunLog(folder / f"sft-{world.rank}", "sft", 0, 3, {}, quiet=True) as log:
        training = Training(policy, Optimizer(policy, STRICT, 3), log, COMPUTE, anchor_of(world), world)
        pairs = PromptStream(PAIRS, 6, 0)
        train_sft(SFTConfig(num_steps=3, max_tokens_per_pass=14), training, pairs, LoopState())
    return result | whole_parameters(policy, "sft")


def not_finite(world: World, _folder: Path) -> dict[str, Tensor]:
    """An update whose gradient is infinite in one number of the first process: skipped by all."""
    policy = spread(narrow_gpt2(), world)
    optimizer = Optimizer(policy, STRICT, 1)
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    if world.is_first:
        grad: Any = next(policy.parameters()).grad
        (grad.to_local() if world.is_sharded else grad)[0, 0] = math.inf
    world.sum_gradients(policy.parameters())
    facts = optimizer.step()
    return {"skipped": torch.tensor(facts["skipped_updates"])} | whole_parameters(policy, "")


def samples(world: World, _folder: Path) -> dict[str, Tensor]:
    """Tokens, log-probabilities and scores of rollouts: whole weights, in fp32 and fp16, in slots; layer by layer; a model
    and a head without a step of our own. Greedy outputs.
    """
    result: dict[str, Tensor] = {}
    for name, (make, format, is_fast) in SAMPLERS.items():
        model = spread(as_policy(make(), torch.device("cpu"), format=FORMATS[format]), world)
        settings = Sampling(3, 9, 1.0, STOPS, fast=is_fast)
        shares = balanced_shares([*map(len, PROMPTS)], world.size)
        own = shares[world.rank]
        in_slots = mock.patch.object(sampler, "uses_graph", return_value=name == "slots")
        free = 0 if name == "cramped" and world.rank == 1 else math.inf
        with in_slots, mock.patch.object(gathering, "free_bytes", return_value=free):
            rollout = generate(model, [PROMPTS[i] for i in own], settings, (0, 7), own)
        rollout = rollout.map_tensors(partial(world.gather_shares, shares=shares), PROMPTS)
        logps = score(model, rollout, 1.0, TOKENS, world=world)
        parts = {"ids": rollout.completion_ids * rollout.completion_mask, "lengths": rollout.lengths, "sampler": rollout.sampling_logps,
                 "trainer": logps}  # fmt: skip
        result |= {f"{name}:{part}": x for part, x in parts.items()}
        examples = [Example(f"e{i}", "s" * (1 + i % 5), "r", "", "", "", "") for i in range(7)]
        settings_of_greedy = DecodeSettings(5, (1,), 3, is_fast)
        prompt = Prompt.of(byte_tokenizer())
        with mock.patch.object(greedy, "uses_graph", return_value=name == "slots"):
            texts = greedy_outputs(model, prompt, examples, settings_of_greedy)
            # 3 batches, 1, none
            few = examples if world.is_first else examples[:1] if world.rank == 1 else []
            assert greedy_outputs(model, prompt, few, settings_of_greedy) == texts[: len(few)]
        result[f"{name}:greedy"] = torch.tensor([*"\n".join(texts).encode()])
        result[f"{name}:hash"] = torch.tensor([*parameter_hash(model).encode()])
        in_shares = all(is_share(p) == world.is_sharded for p in model.parameters())
        result[f"{name}:in_shares"] = torch.tensor(in_shares)
        has_whole_weights = vars(model).get(gathering.ATTRIBUTE, False)
        result[f"{name}:has_whole_weights"] = torch.tensor(has_whole_weights)
    return result


def frozen(world: World, _folder: Path) -> dict[str, Tensor]:
    """Log-probabilities of a model that is only read, its matrices in 16 bits and its norms in 32."""
    model = as_policy(tiny_llama(), torch.device("cpu"), format=FORMATS["bf16"]).requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = layer.weight.data.bfloat16()
    packed = pack(PROMPTS[:2], [[40, 41, 1], [50]] * 2, 2)
    with torch.no_grad():
        return {"logps": completion_logps(spread(model, world), packed).logps}


def session(world: World, folder: Path) -> dict[str, Tensor]:
    """Parameters after three steps of two passes and four updates each, by the loop; how many texts this process has
    rewarded.
    """
    train = replace(TWO_PASSES.train, num_steps=3, prompts_per_update=4, max_tokens_per_pass=TOKENS)
    config = replace(TWO_PASSES, train=train, rollout=replace(TWO_PASSES.rollout, num_prompts=8))
    texts: list[str] = []

    def reward(sources: Texts, completions: Texts, references: Sequence[Texts], group_size: int) -> Rewards:
        texts.extend(completions)
        return variety(sources, completions, references, group_size)

    run = Session(config, folder / f"session-{world.rank}", byte_tokenizer(), reward=reward, world=world)
    run.run()
    return whole_parameters(run.policy, "") | {"rewarded": torch.tensor(len(texts))}


PARTS = (updates, steps, not_finite, samples, frozen, session, traffic)


def everything(world: World, folder: Path) -> dict[str, Tensor]:
    """All results by the name of their part."""
    return {
        f"{part.__name__}:{name}": value
        for part in PARTS
        for name, value in part(world, folder / part.__name__).items()
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    world = meet(ParallelConfig())
    connect(world, False, ParallelConfig())
    for mode in ("data", "fsdp"):
        CountingWorld.filled = 0
        result = everything(CountingWorld(**vars(world) | {"mode": mode}), folder / mode)
        result["filled"] = torch.tensor(CountingWorld.filled)
        save_file(
            {key: x.contiguous() for key, x in result.items()}, folder / f"{mode}-{world.rank}.safetensors"
        )
    leave(world)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
