"""The metrics of a GRPO step, and the completions that rollouts.jsonl shows. Formulas: docs/metrics.md."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from data.errors import TrainingFailure
from data.examples import Example
from data.prompt import Prompt
from grpo.advantage import group_spread
from grpo.engine.logprob import CompletionLogps
from grpo.engine.packing import row_tokens
from grpo.kl import MAX_LOG_RATIO
from grpo.minibatch import MicroBatch
from grpo.records import Experience
from grpo.runtime.parallel import Sums
from grpo.training import Training
from reward.panel import agreement

FED = "fed_tokens"  # of an update's passes, for each completion
UNREWARDED = ("cosine_held_out", "chrf")


class UpdateMetrics:
    """Gathers what the log gets of one update from its micro-batches, without waiting for the device before the end."""

    def __init__(self) -> None:
        self.sums: list[Sums] = []
        self.peaks: list[dict[str, Tensor]] = []

    def add(self, stats: Sums, policy: CompletionLogps, micro: MicroBatch) -> None:
        """Take in a micro-batch; `stats` are those of its loss."""
        self.sums.append({**stats, **micro_batch_sums(policy, micro)})
        self.peaks.append(micro_batch_peaks(policy, micro))

    def write(self, training: Training, anchor_sums: Sums, max_gap: float) -> None:
        """Give the log the means and the largest values over all processes. Raises SamplerGap above `max_gap`; 0 stands
        for the limit of the machine.
        """
        log = training.log
        log.add(training.world.total({**totals(self.sums), **anchor_sums}))
        log.put_max(training.world.largest(maxima(self.peaks)))
        share = effective_share(log.mean("sampler_ratio_mean"), log.mean("sampler_ratio_square_mean"))
        log.put({"sampler_effective_share": share})
        refuse_gap(log.mean("ratio_gap_mean"), max_gap or training.compute.max_gap)


def micro_batch_sums(policy: CompletionLogps, micro: MicroBatch) -> Sums:
    """Sums of the tokens fed, of the entropy, and of the gap between what the sampler recorded and what teacher forcing says now;
    fp64 tensors that nobody has waited for.
    """
    log_ratio = sampler_log_ratio(policy, micro).clamp(max=MAX_LOG_RATIO)
    ratio = log_ratio.exp() * micro.mask
    sums = {
        "entropy_mean": policy.entropy.sum(),
        "ratio_gap_mean": log_ratio.abs().sum(),
        "sampler_kl_mean": (ratio - micro.mask.float() - log_ratio).sum(),
        "sampler_ratio_mean": ratio.sum(),
        "sampler_ratio_square_mean": ratio.square().sum(),
    }
    count = micro.mask.sum().double()
    rows = float(len(micro.mask))
    fed = float(micro.packed.input_ids.numel()) if rows else 0.0  # a pass that only keeps step feeds no text
    return {**{name: (total.double(), count) for name, total in sums.items()}, FED: (fed, rows)}


def effective_share(mean: float, square_mean: float) -> float:
    """Effective sample size of importance weights as a share of their number, (sum w)^2 / (n sum w^2), from the
    means of w and w^2 (Kong 1992).
    """
    return mean * mean / square_mean if square_mean > 0 else 1.0


def micro_batch_peaks(policy: CompletionLogps, micro: MicroBatch) -> dict[str, Tensor]:
    """Largest sampler gap and largest |log ratio| to the reference policy, in nats."""
    drift = ((policy.logps.detach() - micro.ref_logps) * micro.mask).abs()
    gap = sampler_log_ratio(policy, micro).abs()
    return {"ratio_gap_max": largest(gap), "ref_log_ratio_max": largest(drift)}


def largest(sizes: Tensor) -> Tensor:
    """The largest of numbers that are not negative, 0 of none: a pass that only keeps step has no rows."""
    return sizes.amax() if sizes.numel() else sizes.new_zeros(())


def sampler_log_ratio(policy: CompletionLogps, micro: MicroBatch) -> Tensor:
    """(N, T) log of trainer over sampler, of the same weights; 0 outside the mask."""
    return (micro.trainer_logps(policy.logps) - micro.sampling_logps) * micro.mask


def totals(parts: Sequence[Sums]) -> Sums:
    """The sums of several micro-batches -> of all."""
    return {
        name: (sum(part[name][0] for part in parts), sum(part[name][1] for part in parts))
        for name in parts[0]
    }


def maxima(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The largest value of each name; all parts have the same names."""
    return {name: torch.stack([part[name] for part in parts]).amax() for name in parts[0]}


class SamplerGap(TrainingFailure):
    """The sampler and the trainer compute different log-probabilities of the same tokens."""


def refuse_gap(gap: float, limit: float) -> None:
    """Raise SamplerGap when sampler and trainer disagree by more than `limit` nats per token on average. One
    token may disagree by more: that is rounding.
    """
    if gap > limit:
        raise SamplerGap(
            f"the sampler's log-probabilities and the trainer's differ by {gap:.2g} nats per token on average "
            f"(limit rollout.max_gap = {limit:g}), which is more than rounding: the policy gradient would be wrong, "
            "so training stops; write engine.fast_decode=false or another engine.number_format under a new run_dir"
        )


def rollout_metrics(experience: Experience, std_floor: float) -> dict[str, float]:
    """Averages over the N completions of a step, the share of groups that teach nothing, and agreement with
    what is not rewarded.
    """
    rollout = experience.rollout
    rewards = experience.rewards.cpu()
    terms = {name: v.cpu() for name, v in experience.terms.items()}
    groups = [[tuple(ids) for ids in group] for group in rollout.groups()]
    distinct = [len(set(group)) for group in groups]
    commonest = max(Counter(row for group in groups for row in group).values())
    return {
        "reward_mean": float(rewards.nanmean()),
        "reward_std": float(group_spread(rewards).mean()),
        "missing_reward_share": float(rewards.isnan().float().mean()),
        **{f"{name}_mean": float(values.nanmean()) for name, values in terms.items()},
        **{f"agreement_{name}": agreement(rewards, terms[name]) for name in UNREWARDED if name in terms},
        "length_mean": float(rollout.lengths.float().mean()),
        "cut_share": 1.0 - float(rollout.finished.float().mean()),
        "zero_std_share": float((group_spread(rewards) <= std_floor).float().mean()),
        "distinct_share": sum(distinct) / rollout.completion_ids.shape[0],
        "commonest_share": commonest / rollout.completion_ids.shape[0],
        "tokens": float(rollout.lengths.sum()),
        "trained_tokens": float(
            sum(row_tokens(prompt, group) for prompt, group in zip(rollout.prompt_ids, groups, strict=True))
        ),
    }


def rollout_samples(batch: Sequence[Example], experience: Experience, prompt: Prompt) -> list[dict[str, Any]]:
    """The first prompt's group, best completion first, for rollouts.jsonl."""
    example = batch[0]
    group: list[dict[str, Any]] = []
    for g, ids in enumerate(experience.rollout.groups()[0]):
        numbers = {
            "reward": float(experience.rewards[0, g]),
            **{name: float(values[0, g]) for name, values in experience.terms.items()},
        }
        group.append(
            {
                "completion": prompt.decode_completion(ids),
                **{name: round(number, 4) for name, number in numbers.items()},
            }
        )
    group.sort(key=lambda row: (math.isnan(row["reward"]), -row["reward"]))
    about = {key: getattr(example, key) for key in ("id", "source", "reference", "references")}
    return [{**about, "group": group}]
