"""What a process sends to the others in a step, in bytes, by parallel.mode: formulas, and what test_sharding.py counts.

The exchange goes around a ring: of a tensor of B bytes, gathered from n shares or added up into n shares, a process
sends B (n - 1) / n; of one that is added up for all, twice that. Samples, rewards and log-probabilities are left out:
they are a few bytes a token.
"""

from math import prod
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from ragged_update import COMPUTE, PROMPTS, SAMPLERS, STOPS, STRICT, TEXTS, TOKENS, spread, update_config
from torch import Tensor, nn
from transformers import PreTrainedModel
from wire import PassCount, Wire

from data.stream import PromptStream
from grpo.anchor import Anchor
from grpo.engine import logprob, model_kl, sampler
from grpo.engine.chunked_head import head_type
from grpo.engine.forward import output_weight
from grpo.engine.gathering import decoder_weights
from grpo.engine.model import as_policy
from grpo.engine.private_apis import layers_of
from grpo.engine.products import FORMATS, format_of
from grpo.engine.sampler import Sampling, generate
from grpo.loop import accumulate
from grpo.minibatch import minibatches_of, score
from grpo.optim import Optimizer
from grpo.records import Experience, Rollout
from grpo.runtime.parallel import World
from grpo.runtime.run_log import RunLog
from grpo.training import Training


class GatheredBytes(NamedTuple):
    """Bytes of what is gathered from shares. Shares have as many rows each, the last ones filled up.

    layers   parameters of all layers; `rest` the others: embedding, last norm, head
    decoder  weights of a rollout, in the types of its products, 0 for a head that is no product; `norms` those of them
             that are no part of a product
    head     the head alone, in the type of its products
    """

    layers: int
    rest: int
    decoder: int
    norms: int
    head: int

    @classmethod
    def of(cls, model: PreTrainedModel, size: int) -> "GatheredBytes":
        inside = {id(parameter) for layer in layers_of(model) for parameter in layer.parameters()}
        parameters = list(model.parameters())
        head = output_weight(model)
        weights = [] if head is None else decoder_weights(model)
        biases = {id(layer.bias) for layer in model.modules() if isinstance(layer, nn.Linear)}
        norms = [weight for weight, _ in weights if weight.dim() == 1 and id(weight) not in biases]
        return cls(
            sum(filled_bytes(p, p.dtype.itemsize, size) for p in parameters if id(p) in inside),
            sum(filled_bytes(p, p.dtype.itemsize, size) for p in parameters if id(p) not in inside),
            sum(filled_bytes(weight, dtype.itemsize, size) for weight, dtype in weights),
            sum(filled_bytes(norm, norm.dtype.itemsize, size) for norm in norms),
            0 if head is None else filled_bytes(head, head_type(head, format_of(model)).itemsize, size),
        )


class Passes(NamedTuple):
    """What the process with the most of each does in a step.

    policy    forward passes with a backward pass, those of an anchor among them
    anchor    those of an anchor alone
    scored    forward passes of the policy without a backward pass; `reference` those of the other model
    rollouts  with whole weights; `captured` of these by the captured step, which has norms of its own
    tokens    decoded layer by layer, the first one included
    """

    policy: int = 0
    anchor: int = 0
    scored: int = 0
    reference: int = 0
    rollouts: int = 0
    captured: int = 0
    tokens: int = 0


def filled_bytes(weight: Tensor, itemsize: int, size: int) -> int:
    """Bytes of a weight whose rows are filled up to a multiple of `size`."""
    rows, *others = weight.shape
    return -(-rows // size) * size * prod(others) * itemsize


def sent_in_data_mode(parameters: int, updates: int, size: int) -> float:
    """The gradients of `updates`, each in fp32 and added up for all."""
    return 2 * (size - 1) / size * 4 * parameters * updates


def sent_in_fsdp_mode(policy: GatheredBytes, reference: GatheredBytes, passes: Passes, size: int) -> float:
    """Gathers of every pass: a layer before it runs, and again on the way back; the rest once. Sums of gradients: of
    every pass with a way back. Gathers of a rollout: its weights once, or every layer for every token. `reference`: the
    model that is scored, or whose head an anchor reads.
    """
    gathered = (
        passes.policy * (2 * policy.layers + policy.rest)
        + passes.anchor * reference.head
        + passes.scored * (policy.layers + policy.rest)
        + passes.reference * (reference.layers + reference.rest)
        + passes.rollouts * policy.decoder
        + passes.captured * policy.norms
        + passes.tokens * policy.layers
        + bool(passes.tokens) * policy.rest
    )
    added_up = passes.policy * (policy.layers + policy.rest)
    return (size - 1) / size * (gathered + added_up)


def update(
    world: World, policy: PreTrainedModel, base: PreTrainedModel, rollout: Rollout, folder: Path
) -> Passes:
    """Score a rollout under both models and make one update with an anchor -> the passes that ran."""
    anchor = Anchor(base, PromptStream(TEXTS, 3, 0), [2], 0.7, 12, COMPUTE, world)
    with (
        PassCount(logprob, model_kl) as count,
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
