"""The policy-gradient loss of GRPO and its relatives: pure functions on (N, T) log-probabilities.

A method is a row of OBJECTIVES: which surrogate, which ratio, which average. Every average is a sum over
`token_weights`, which are made once for a whole optimiser update and add up to 1 over it, so the gradient
does not depend on how the update is cut into micro-batches or spread over processes.

Masks are applied to log-ratios before the exponential: an infinity under a mask times zero is NaN.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from grpo.kl import MAX_LOG_RATIO, kl_k3, kl_term

SAPO_TEMPERATURES = (1.0, 1.05)  # for advantages above 0, and the others (arXiv 2511.20347)


class Bounds(NamedTuple):
    """The ratio counts in [1 - low, 1 + high]; `dual` > 0 also bounds it from above where the advantage is
    negative.
    """

    low: float
    high: float
    dual: float = 0.0


def token_weights(mask: Tensor, aggregation: str, most: int | None = None) -> Tensor:
    """(N, T) mask of a whole update -> (N, T) fp64 weights.

    sequence  1 / (N |y_i|): mean over completions of their token means (GRPO, arXiv 2402.03300 eq. 3)
    token     1 / sum_i |y_i|: every token counts the same (DAPO, arXiv 2503.14476 eq. 8)
    constant  1 / (N T): no length normalisation (Dr. GRPO, arXiv 2503.20783); `most` stands for T where it is given
    """
    lengths = mask.sum(dim=1, keepdim=True).double().clamp_min(1)
    rows = len(mask)
    width = most or mask.shape[1]
    scales = {
        "sequence": lambda: 1.0 / (lengths * rows),
        "token": lambda: torch.ones_like(lengths) / mask.sum().clamp_min(1),
        "constant": lambda: torch.ones_like(lengths) / (rows * width),
    }
    if aggregation not in scales:
        raise ValueError(f"aggregation: unknown value {aggregation!r}; known values: {', '.join(scales)}")
    return mask * scales[aggregation]()


def sampler_weights(trainer_logps: Tensor, sampling_logps: Tensor, mask: Tensor, cap: float) -> Tensor:
    """(N, T) min(pi/mu, cap), 1 where `cap` is 0: what a token counts that mu sampled and pi is trained on.

    pi is the policy at the rollout as the trainer computes it, mu the same weights as the sampler computed
    them; rounding sets them apart. For any f, E_mu[(pi/mu) f] = E_pi[f] of the next token; the cap bounds the
    variance, and its bias is E_pi[f (1 - cap mu/pi)] over tokens with pi > cap mu (truncated importance
    sampling, IMPALA, arXiv 1802.01561 section 4.1; for LLM samplers https://fengyao.notion.site/off-policy-rl).
    """
    if not cap:
        return torch.ones_like(sampling_logps)
    log_ratio = torch.where(mask, trainer_logps.detach() - sampling_logps, 0.0)
    return log_ratio.clamp(max=math.log(cap)).exp()


def ppo_clip(logps: Tensor, ratio: Tensor, advantages: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic min(r A, clip(r) A) (arXiv 1707.06347 eq. 7); for A < 0 not below `dual` A (dual
    clip, arXiv 1912.09729 eq. 5).

    Estimates the policy gradient, without the tokens whose ratio has left the range in the direction that A
    asks for.
    """
    plain = ratio * advantages
    inside = ratio.clamp(1 - bounds.low, 1 + bounds.high) * advantages
    objective = torch.minimum(plain, inside)
    is_clipped = inside < plain
    if bounds.dual:
        floor = torch.where(advantages < 0, bounds.dual * advantages, -torch.inf)
        is_clipped = is_clipped | (floor > objective)
        objective = torch.maximum(objective, floor)
    return objective, is_clipped


def cispo(logps: Tensor, ratio: Tensor, advantages: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """sg(min(r, 1 + high)) A log pi (MiniMax-M1, arXiv 2506.13585 eq. 4); `low` is not used.

    REINFORCE with a truncated importance weight: every token keeps a gradient, its size is bounded instead.
    """
    return ratio.clamp(max=1 + bounds.high).detach() * advantages * logps, ratio > 1 + bounds.high


def sapo(logps: Tensor, ratio: Tensor, advantages: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """4/t sigmoid(t (r - 1)) A with t by the sign of A (arXiv 2511.20347 eq. 5): a soft gate instead of a
    clip; `bounds` are not used.

    At r = 1 its gradient is the policy gradient; away from it the gradient fades and never stops.
    """
    positive, negative = SAPO_TEMPERATURES
    temperature = torch.where(advantages > 0, positive, negative)  # fp32 numbers, as in TRL
    objective = torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantages
    return objective, torch.zeros_like(ratio, dtype=torch.bool)


class Objective(NamedTuple):
    """`surrogate`: (logps, ratio (N, T), advantages (N, 1), bounds) -> (N, T) objective, and where the range of the ratio
    binds. `ratio_of`: each token has a ratio of its own, or each sequence one.
    """

    surrogate: Callable[[Tensor, Tensor, Tensor, Bounds], tuple[Tensor, Tensor]]
    aggregation: str
    ratio_of: str = "token"


OBJECTIVES: dict[str, Objective] = {
    "grpo": Objective(ppo_clip, "sequence"),  # arXiv 2402.03300
    "bnpo": Objective(ppo_clip, "token"),  # token mean over a batch, here the whole update: the same as dapo
    "dapo": Objective(ppo_clip, "token"),  # arXiv 2503.14476; its clip-higher is clip_high = 0.28
    "dr_grpo": Objective(ppo_clip, "constant"),  # arXiv 2503.20783; with advantage.scale = "none"
    # arXiv 2507.18071; clip_low = 3e-4, clip_high = 4e-4
    "gspo": Objective(ppo_clip, "sequence", ratio_of="sequence"),
    "cispo": Objective(cispo, "token"),  # arXiv 2506.13585; clip_high = 4 bounds the weight by 5
    "sapo": Objective(sapo, "sequence"),  # arXiv 2511.20347
}


def sequence_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """(N, T), 0 outside the mask -> its mean over a completion's tokens, at each of them: log of GSPO's
    length-normalised ratio (eq. 7).
    """
    mean = log_ratio.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp_min(1)
    return mean.expand_as(log_ratio)


def grpo_loss(
    policy_logps: Tensor,
    old_logps: Tensor | None,
    ref_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    *,
    objective: str = "grpo",
    bounds: Bounds,
    kl_coef: float,
    kl_estimator: str = "k3",
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Loss of one micro-batch of whole completions: -sum w (surrogate - kl_coef * KL), and (sum, count)
    statistics for the log, fp64 tensors that nobody has waited for.

    policy_logps (N, T) with gradient; old_logps (N, T), or None when the policy itself made the rollout and
    has not moved since (old = detach(policy), ratio exactly 1); ref_logps (N, T); advantages (N,); mask,
    weights (N, T).
    """
    method = OBJECTIVES[objective]
    behaviour = policy_logps.detach() if old_logps is None else old_logps
    logps = torch.where(mask, policy_logps, 0.0)
    log_ratio = torch.where(mask, policy_logps - behaviour, 0.0)
    ref_log_ratio = torch.where(mask, policy_logps - ref_logps, 0.0)
    ratio = log_ratio.clamp(max=MAX_LOG_RATIO).exp()
    used = ratio
    if method.ratio_of == "sequence":
        used = sequence_log_ratio(log_ratio, mask).clamp(max=MAX_LOG_RATIO).exp()
    surrogate, is_clipped = method.surrogate(logps, used, advantages[:, None], bounds)
    loss = -(weights * surrogate).sum()
    if kl_coef:
        loss = loss + kl_coef * (weights * kl_term(ref_log_ratio, ratio, kl_estimator)).sum()
    with torch.no_grad():
        sums = {
            "kl_mean": kl_k3(ref_log_ratio).sum(),
            "kl_k1_mean": ref_log_ratio.sum(),
            "clip_share": (is_clipped & mask).sum(),
            "ratio_mean": (ratio * mask).sum(),
        }
        count = mask.sum().double()
    return loss, {name: (total.double(), count) for name, total in sums.items()}
