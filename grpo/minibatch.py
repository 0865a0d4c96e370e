"""A rollout -> minibatches (one optimiser update each) -> micro-batches (one forward pass each), by whole
groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.config import Config
from grpo.engine.logprob import CompletionLogps, completion_logps
from grpo.engine.packing import Packed, by_budget, pack, row_tokens, send
from grpo.guide import Guidance
from grpo.loss import OBJECTIVES, token_weights
from grpo.records import Experience, Rollout
from grpo.runtime.parallel import SINGLE_PROCESS, World, balanced_shares


class Texts(NamedTuple):
    """The reference texts of P prompts as completions: ids (empty = none), mask and weights (P, T)."""

    ids: Sequence[Sequence[int]]
    mask: Tensor
    weights: Tensor

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], device: torch.device) -> "Texts":
        """Texts that count nothing yet."""
        lengths = torch.tensor([len(text) for text in ids])
        mask = send(torch.arange(max(1, *map(len, ids))) < lengths[:, None], device)
        return cls(ids, mask, torch.zeros(mask.shape, dtype=torch.float64, device=device))

    def at(self, prompts: Tensor) -> "Texts":
        """Mask and weights of those of `prompts` (K,), which are packed already."""
        return Texts((), self.mask[prompts], self.weights[prompts])


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: packed rows, and everything of their N completions that the loss needs, (N, T) or
    (N,). With `texts` the last row of each group is its prompt's reference text.
    """

    packed: Packed
    mask: Tensor
    weights: Tensor
    advantages: Tensor
    sampling_logps: Tensor
    ref_logps: Tensor
    old_logps: Tensor | None
    texts: Texts | None = None

    def trainer_logps(self, logps: Tensor) -> Tensor:
        """(N, T) log-probabilities under the policy of the rollout, as the trainer computes them, from those of now; no
        gradient.
        """
        return logps.detach() if self.old_logps is None else self.old_logps

    def parts_of(self, logps: CompletionLogps) -> tuple[CompletionLogps, Tensor | None]:
        """What belongs to the completions (N, T), and the log-probabilities of the texts (K, T)."""
        if self.texts is None:
            return logps, None
        count, width = self.texts.mask.shape
        groups = count, 1 + len(self.mask) // max(1, count), logps.logps.shape[1]
        samples, entropy = (
            x.view(groups)[:, :-1, : self.mask.shape[1]].flatten(0, 1) for x in (logps.logps, logps.entropy)
        )
        texts = logps.logps.view(groups)[:, -1, :width]
        return CompletionLogps(samples, entropy), texts


def micro_batches(
    rollout: Rollout,
    prompts: Tensor,
    max_tokens: int,
    share_prefix: bool = True,
    world: World = SINGLE_PROCESS,
    texts: Texts | None = None,
) -> Iterator[tuple[Tensor, Packed]]:
    """Cut whole groups into packed forward passes of at most `max_tokens` -> (rows of the rollout, packed
    rows). Of a sharded model they are as many in all processes; those filled up have no rows. The text of a prompt
    is packed as the last completion of its group.

    Without `share_prefix` each completion gets a row and a copy of its prompt of its own: more tokens, same
    numbers.
    """
    completions = rollout.completions()
    size = rollout.group_size if share_prefix else 1
    units = rollout.rows_of(prompts).view(-1, size).tolist()
    numbers = [rows[0] // rollout.group_size for rows in units]
    groups = [
        [*(completions[row] for row in rows), *([] if texts is None else [texts.ids[number]])]
        for number, rows in zip(numbers, units, strict=True)
    ]
    prefixes = [rollout.prompt_ids[number] for number in numbers]
    lengths = [row_tokens(prefix, group) for prefix, group in zip(prefixes, groups, strict=True)]
    width = rollout.completion_ids.shape[1]
    if texts is not None:
        size += 1
        width = max(width, texts.mask.shape[1])
    for units_of_pass in world.in_step(by_budget(lengths, max_tokens)):
        rows = [row for unit in units_of_pass for row in units[unit]]
        packed = pack(
            [prefixes[unit] for unit in units_of_pass],
            [ids for unit in units_of_pass for ids in groups[unit]],
            size,
            width,
        )
        yield (
            send(torch.tensor(rows, dtype=torch.int64), rollout.lengths.device),
            packed.to(rollout.lengths.device),
        )


def update_windows(num_prompts: int, prompts_per_update: int, seed: tuple[int, ...]) -> list[Tensor]:
    """The prompts of each update, (K,) indices: `prompts_per_update` of them (0 = all, in their order) in an
    order made from `seed`.

    One partition a step, by which the rollout is scored too: packed alike, a policy that has not moved has a
    KL of exactly 0 and a ratio of exactly 1. A rounding error there would be all the gradient of a step
    without rewards, and Adam makes steps of it.
    """
    size = prompts_per_update or num_prompts
    shuffled = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))).permutation(num_prompts)
    order = torch.from_numpy(np.arange(num_prompts) if size >= num_prompts else shuffled)
    return list(order.split(size))


def shares_of(rollout: Rollout, prompts: Tensor, count: int) -> list[Tensor]:
    """The prompts of an update (K,) -> those of each of `count` processes; shares have about as many tokens."""
    lengths = [rollout.num_tokens(prompt) for prompt in prompts.tolist()]
    return [prompts[share] for share in balanced_shares(lengths, count)]


@torch.no_grad()
def score(
    model: PreTrainedModel, rollout: Rollout, temperature: float, max_tokens: int, share_prefix: bool = True,
    windows: Sequence[Tensor] | None = None, world: World = SINGLE_PROCESS,
) -> Tensor:  # fmt: skip
    """(N, T) log-probabilities of a rollout under a model, without gradient. `windows`: the prompts of each update
    (`update_windows`). A process scores the share of them that it will learn from, and all get those of all.
    """
    windows = windows or [torch.arange(len(rollout.prompt_ids))]
    by_update = [shares_of(rollout, prompts, world.size) for prompts in windows]  # those of each process
    logps = torch.zeros_like(rollout.sampling_logps)
    for shares in by_update:
        for rows, packed in micro_batches(rollout, shares[world.rank], max_tokens, share_prefix, world):
            logps[rows] = completion_logps(model, packed, temperature).logps.to(logps.dtype)
    by_process = [torch.cat(parts).sort().values for parts in zip(*by_update, strict=True)]
    own_rows = send(rollout.rows_of(by_process[world.rank]), logps.device)
    return world.gather_shares(logps[own_rows], [prompts.tolist() for prompts in by_process])


@dataclass(frozen=True)
class Minibatch:
    """The groups of one optimiser update, with weights that add up to 1 over all of them."""

    experience: Experience
    prompts: Tensor
    advantages: Tensor
    weights: Tensor
    texts: Texts | None = None

    def split(
        self, max_tokens: int, share_prefix: bool = True, world: World = SINGLE_PROCESS
    ) -> Iterator[MicroBatch]:
        """This process's share, cut into forward passes; shares have about as many tokens."""
        rollout = self.experience.rollout
        old_logps = self.experience.old_logps
        mask = rollout.completion_mask
        own_prompts = shares_of(rollout, self.prompts, world.size)[world.rank]
        for rows, packed in micro_batches(rollout, own_prompts, max_tokens, share_prefix, world, self.texts):
            prompts = rows[:: rollout.group_size] // rollout.group_size
            yield MicroBatch(
                packed,
                mask[rows],
                self.weights[rows],
                self.advantages[rows],
                rollout.sampling_logps[rows],
                self.experience.ref_logps[rows],
                None if old_logps is None else old_logps[rows],
                None if self.texts is None else self.texts.at(prompts),
            )


def minibatches_of(
    config: Config, experience: Experience, advantages: Tensor, step: int, guide: Guidance | None = None
) -> Iterator[Minibatch]:
    """The updates of a step, a function of (seed, step): `train.passes` times over the rollout in updates of
    `train.prompts_per_update` groups; each pass takes them in another order.

    advantages (P, G) become one per row here and nowhere else. `guide` says what a prompt's completions and its
    reference text count. Under `loss.skip_cut` a cut completion has no weight and is no part of any mean over tokens.
    """
    rollout = experience.rollout
    mask = rollout.completion_mask
    if config.loss.skip_cut:
        mask = mask & rollout.finished[:, None]
    aggregation = OBJECTIVES[config.loss.objective].aggregation
    seed = config.seed, step
    windows = update_windows(len(rollout.prompt_ids), config.train.prompts_per_update, seed)
    for number in range(config.train.passes):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, number)))
        for prompts in (windows[window] for window in rng.permutation(len(windows)).tolist()):
            rows = send(rollout.rows_of(prompts), mask.device)
            weights = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
            texts = None
            if guide is None or not guide.texts:
                weights[rows] = token_weights(mask[rows], aggregation)
            else:
                weights[rows], texts = guided_weights(guide, mask[rows], prompts, aggregation)
            yield Minibatch(experience, prompts, advantages.flatten().to(mask.device), weights, texts)


def guided_weights(guide: Guidance, mask: Tensor, prompts: Tensor, aggregation: str) -> tuple[Tensor, Texts]:
    """(K * G, T) weights of the samples of the `prompts` (K,) of an update, whose mask this is, and the texts with those of
    their tokens: each times what `guide` lets it count.
    """
    texts = Texts.of(guide.texts, mask.device)
    there = send(prompts, mask.device)
    weights, text_weights = guide.weights_of(mask, texts.mask[there], aggregation)
    samples, references = (counts.to(mask.device)[there] for counts in (guide.samples, guide.references))
    texts.weights[there] = text_weights * references[:, None]
    return weights * samples.repeat_interleave(len(mask) // len(prompts))[:, None], texts
