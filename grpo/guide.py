"""GRPO also learns from the reference texts; without a guide only the reward reads them.

The reference text of a prompt is one more completion of its packed group, so it costs its own tokens and no prompt.
Four ways (section [guide]): a member of the group, a term that fades out, a teacher where the group fails, and steps
of imitation in between. Pure functions; P prompts, G completions each, T tokens.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from grpo.advantage import group_advantages
from grpo.config import AdvantageConfig, GuideConfig
from grpo.loss import token_weights


def separate_weights(mask: Tensor, text_mask: Tensor, aggregation: str) -> tuple[Tensor, Tensor]:
    """Token weights (grpo/loss.py) of samples (N, T) and of reference texts (P, T'), each a mean of its own."""
    return token_weights(mask, aggregation), token_weights(text_mask, aggregation, mask.shape[1])


def joint_weights(mask: Tensor, text_mask: Tensor, aggregation: str) -> tuple[Tensor, Tensor]:
    """The same as one mean over all N + P of them: each reference text is a completion among the others.

    >>> joint_weights(torch.ones(1, 3), torch.ones(1, 2), "token")[1].tolist()
    [[0.2, 0.2]]
    """
    width, text_width = mask.shape[1], text_mask.shape[1]
    most = max(width, text_width)
    both = torch.cat([pad(mask, (0, most - width)), pad(text_mask, (0, most - text_width))])
    weights = token_weights(both, aggregation, width)
    return weights[: len(mask), :width], weights[len(mask) :, :text_width]


class Guidance(NamedTuple):
    """advantages (P, G) of the samples; what the loss of a prompt's samples counts, and what the loss of its reference
    text counts, (P,) fp64 each; token ids of the texts, an empty one where it is too long; how the tokens of both are
    weighed.
    """

    advantages: Tensor
    samples: Tensor
    references: Tensor
    texts: Sequence[Sequence[int]]
    weights_of: Callable[[Tensor, Tensor, str], tuple[Tensor, Tensor]] = separate_weights


def guidance(
    config: GuideConfig,
    advantage: AdvantageConfig,
    rewards: Tensor,
    text_rewards: Tensor | None,
    step: int,
    num_steps: int,
    texts: Sequence[Sequence[int]] = (),
) -> Guidance:
    """What is learnt of samples with `rewards` (P, G) and of reference texts, in mode member with `text_rewards` (P, 1).

    none         the samples only
    member       the reference text is one of G + 1 members, with its advantage among them (LUFFY, arXiv 2504.14945)
    term         beside the samples, by a weight w that falls (CHORD, arXiv 2508.11408). CHORD's loss is (1 - mu) GRPO +
                 mu SFT; here the samples always count 1, so w is mu / (1 - mu): 1 is its mu of 0.5, 0.1 that of 0.09
    failed       where no sample reaches `threshold`, the reference text alone (HPT, arXiv 2509.04419, whose gate is the
                 share of right samples, for a reward that is right or wrong)
    interleaved  every `every`-th step the reference texts alone
    """
    ones = torch.ones(len(rewards), dtype=torch.float64, device=rewards.device)
    settings = advantage.std_floor, advantage.baseline, advantage.scale
    if config.mode == "member":
        assert text_rewards is not None
        both = torch.cat([rewards, text_rewards.to(rewards)], dim=1)
        advantages = group_advantages(both, *settings)
        return Guidance(advantages[:, :-1], ones, advantages[:, -1], texts, joint_weights)
    advantages = group_advantages(rewards, *settings)
    if config.mode == "term":
        return Guidance(advantages, ones, falling_weight(config, step, num_steps) * ones, texts)
    is_taught = torch.zeros_like(ones)
    if config.mode == "failed":
        is_taught = (rewards.nan_to_num(-math.inf).amax(dim=1) < config.threshold).double()
    elif config.mode == "interleaved" and (step + 1) % config.every == 0:
        is_taught = ones
    if texts:  # without one a prompt is left to its samples
        is_taught = is_taught * is_taught.new_tensor([float(bool(ids)) for ids in texts])
    return Guidance(advantages, 1 - is_taught, is_taught, texts)


def falling_weight(config: GuideConfig, step: int, num_steps: int) -> float:
    """From `weight` in the first step along a cosine to `final_weight` in the last.

    >>> [round(falling_weight(GuideConfig(weight=1.0, final_weight=0.2), step, 3), 3) for step in range(3)]
    [1.0, 0.6, 0.2]
    """
    progress = step / max(1, num_steps - 1)
    factor = 0.5 * (1 - math.cos(math.pi * progress))
    return config.weight + (config.final_weight - config.weight) * factor


def reference_loss(config: GuideConfig, logps: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """() loss of reference texts: logps, mask, weights (P, T); weights are those of tokens times what a text counts.

    member  -w p / (p + shaping): an importance weight of pi over a sampler of 1, shaped so that rare tokens keep a
            gradient (LUFFY eq. 6); its derivative is -w shaping p / (p + shaping)^2 d log p
    others  -w log p; with `uncertain_tokens` -w p (1 - p) log p, p (1 - p) without gradient, which is small for tokens
            that are known and for those that are far from the policy (CHORD eq. 9)
    """
    logps = torch.where(mask, logps, 0.0)
    probabilities = logps.exp()
    if config.mode == "member":
        return -(weights * probabilities / (probabilities + config.shaping)).sum()
    if config.uncertain_tokens:
        weights = weights * (probabilities * (1 - probabilities)).detach()
    return -(weights * logps).sum()
