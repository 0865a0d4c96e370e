"""A rollout -> minibatches (one optimiser update each) -> micro-batches (one forward pass each), by whole groups."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.logprob import completion_logps
from grpo.loss import token_weights
from grpo.packing import Packed, by_budget, pack, row_tokens
from grpo.records import Rollout


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: packed rows, and everything of their N completions that the loss needs, (N, T) or (N,)."""

    packed: Packed
    mask: Tensor
    weights: Tensor
    advantages: Tensor
    sampling_logps: Tensor
    ref_logps: Tensor
    old_logps: Tensor | None


def micro_batches(rollout: Rollout, prompts: Tensor, max_tokens: int, share_prefix: bool = True) -> Iterator[tuple[Tensor, Packed]]:
    """Cut whole groups into packed forward passes of at most `max_tokens` -> (rows of the rollout, packed rows).

    Without `share_prefix` each completion gets a row and a copy of its prompt of its own: more tokens, same numbers.
    """
    completions = rollout.completions()
    size = rollout.group_size if share_prefix else 1
    units = rollout.rows_of(prompts).view(-1, size).tolist()
    prefixes = [rollout.prompt_ids[rows[0] // rollout.group_size] for rows in units]
    lengths = [row_tokens(prefix, [completions[row] for row in rows]) for prefix, rows in zip(prefixes, units, strict=True)]
    width = rollout.completion_ids.shape[1]
    for chosen in by_budget(lengths, max_tokens):
        rows = [row for unit in chosen for row in units[unit]]
        packed = pack([prefixes[unit] for unit in chosen], [completions[row] for row in rows], size, width)
        yield torch.tensor(rows, device=rollout.lengths.device), packed.to(rollout.lengths.device)


@torch.no_grad()
def score(model: PreTrainedModel, rollout: Rollout, temperature: float, max_tokens: int, share_prefix: bool = True) -> Tensor:
    """(N, T) log-probabilities of a rollout under a model, without gradient."""
    logps = torch.zeros_like(rollout.sampling_logps)
    everything = torch.arange(len(rollout.prompt_ids), device=logps.device)
    for rows, packed in micro_batches(rollout, everything, max_tokens, share_prefix):
        logps[rows] = completion_logps(model, packed, temperature).logps
    return logps


@dataclass(frozen=True)
class Minibatch:
    """The groups of one optimiser update, with weights that add up to 1 over all of them."""

    rollout: Rollout
    prompts: Tensor
    advantages: Tensor
    weights: Tensor
    ref_logps: Tensor
    old_logps: Tensor | None

    def split(self, max_tokens: int, share_prefix: bool = True) -> Iterator[MicroBatch]:
        mask = self.rollout.completion_mask
        for rows, packed in micro_batches(self.rollout, self.prompts, max_tokens, share_prefix):
            old_logps = None if self.old_logps is None else self.old_logps[rows]
            yield MicroBatch(
                packed,
                mask[rows],
                self.weights[rows],
                self.advantages[rows],
                self.rollout.sampling_logps[rows],
                self.ref_logps[rows],
                old_logps,
            )


def iter_minibatches(
    rollout: Rollout,
    advantages: Tensor,
    old_logps: Tensor | None,
    ref_logps: Tensor,
    *,
    passes: int,
    prompts_per_update: int,
    aggregation: str,
    seed: tuple[int, ...],
) -> Iterator[Minibatch]:
    """`passes` times over the rollout in updates of `prompts_per_update` groups (0 = all), in an order made from `seed`.

    advantages (P, G) become one per row here and nowhere else.
    """
    num_prompts = len(rollout.prompt_ids)
    size = prompts_per_update or num_prompts
    mask = rollout.completion_mask
    for number in range(passes):
        order = np.arange(num_prompts) if size >= num_prompts else np.random.default_rng((*seed, number)).permutation(num_prompts)
        for start in range(0, num_prompts, size):
            prompts = torch.from_numpy(order[start : start + size]).to(mask.device)
            rows = rollout.rows_of(prompts)
            weights = torch.zeros_like(rollout.sampling_logps)
            weights[rows] = token_weights(mask[rows], aggregation)
            yield Minibatch(rollout, prompts, advantages.flatten().to(mask.device), weights, ref_logps, old_logps)
