"""What one GRPO step shows of itself: numbers for the log and a few completions. Formulas: docs/metrics.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from data.examples import Example
from grpo.advantage import constant_groups
from grpo.logprob import CompletionLogps
from grpo.minibatch import MicroBatch
from grpo.records import Rollout
from reward.panel import agreement

UNREWARDED = ("cosine_held_out", "chrf")


def micro_batch_sums(policy: CompletionLogps, micro: MicroBatch) -> dict[str, tuple[float, float]]:
    """(sum, count) of the entropy and of the gap between what the sampler recorded and teacher forcing says now."""
    count = float(micro.mask.sum())
    return {"entropy_mean": (float(policy.entropy.sum()), count), "ratio_gap_mean": (float(_gap(policy, micro).sum()), count)}


def micro_batch_peaks(policy: CompletionLogps, micro: MicroBatch) -> dict[str, float]:
    """Largest sampler gap and largest |log ratio| to the reference policy, in nats."""
    drift = ((policy.logps.detach() - micro.ref_logps) * micro.mask).abs()
    return {"ratio_gap_max": float(_gap(policy, micro).max()), "ref_log_ratio_max": float(drift.max())}


def _gap(policy: CompletionLogps, micro: MicroBatch) -> Tensor:
    before = policy.logps.detach() if micro.old_logps is None else micro.old_logps
    return ((before - micro.sampling_logps) * micro.mask).abs()


def rollout_metrics(rollout: Rollout, rewards: Tensor, terms: Mapping[str, Tensor], std_floor: float) -> dict[str, float]:
    """Averages over the N completions of a step, the share of groups that teach nothing, and agreement with what is not rewarded."""
    distinct = [len(set(group)) for group in _groups(rollout)]
    return {
        "reward_mean": float(rewards.mean()),
        "reward_std": float(rewards.double().std(dim=1, correction=0).mean()),
        **{f"{name}_mean": float(values.mean()) for name, values in terms.items()},
        **{f"agreement_{name}": agreement(rewards, terms[name]) for name in UNREWARDED if name in terms},
        "length_mean": float(rollout.lengths.float().mean()),
        "cut_share": 1.0 - float(rollout.finished.float().mean()),
        "zero_std_share": float(constant_groups(rewards, std_floor).float().mean()),
        "distinct_share": sum(distinct) / rollout.completion_ids.shape[0],
        "tokens": float(rollout.lengths.sum()),
    }


def _groups(rollout: Rollout) -> list[list[tuple[int, ...]]]:
    rows = [tuple(ids) for ids in rollout.completions()]
    return [rows[start : start + rollout.group_size] for start in range(0, len(rows), rollout.group_size)]


def rollout_samples(batch: Sequence[Example], texts: Sequence[str], rewards: Tensor, terms: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The first prompt's group, best completion first, for rollouts.jsonl."""
    example = batch[0]
    group: list[dict[str, Any]] = []
    for g in range(rewards.shape[1]):
        numbers = {"reward": float(rewards[0, g]), **{name: float(values[0, g]) for name, values in terms.items()}}
        group.append({"completion": texts[g], **{name: round(number, 4) for name, number in numbers.items()}})
    group.sort(key=lambda row: -float(row["reward"]))
    return [{"id": example.id, "source": example.source, "reference": example.reference, "group": group}]
