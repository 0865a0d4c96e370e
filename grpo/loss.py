"""The clipped policy-gradient loss and its KL term: pure functions on (N, T) log-probabilities.

Every average here is a sum over `token_weights`, which are made once for a whole optimiser update and add up to 1
over it. So the gradient does not depend on how the update is cut into micro-batches.

Masks are applied to log-ratios before the exponential: an infinity under a mask times zero is NaN.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp(20) = 4.9e8: far outside any clip range, far inside fp32


def token_weights(mask: Tensor, aggregation: str) -> Tensor:
    """(N, T) mask of a whole update -> (N, T) fp32 weights.

    sequence  1 / (N |y_i|): mean over completions of their token means (GRPO, arXiv 2402.03300 eq. 3)
    token     1 / sum_i |y_i|: every token counts the same (DAPO, arXiv 2503.14476 eq. 8)
    constant  1 / (N T): no length normalisation (Dr. GRPO, arXiv 2503.20783)
    """
    lengths = mask.sum(dim=1, keepdim=True).clamp_min(1)
    rows, width = mask.shape
    scale = {
        "sequence": lambda: 1.0 / (lengths * rows),
        "token": lambda: torch.full_like(lengths, 1, dtype=torch.float32) / mask.sum().clamp_min(1),
        "constant": lambda: torch.full_like(lengths, 1, dtype=torch.float32) / (rows * width),
    }
    if aggregation not in scale:
        raise ValueError(f"loss.aggregation: unknown value {aggregation!r}; known values: {', '.join(scale)}")
    return mask * scale[aggregation]().float()


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic objective per token (arXiv 1707.06347 eq. 7), to be maximised.

    log_ratio (N, T) = policy_logps - old_logps, advantages (N,) -> objective (N, T), clipped (N, T) bool where the
    clip removed the gradient.
    """
    ratio = log_ratio.clamp(max=MAX_LOG_RATIO).exp()
    weight = advantages[:, None]
    unclipped, clipped = ratio * weight, ratio.clamp(1 - clip_low, 1 + clip_high) * weight
    return torch.minimum(unclipped, clipped), clipped < unclipped


def kl_k1(log_ratio: Tensor) -> Tensor:
    """log(pi/pi_ref): unbiased value, but its gradient in a loss has expectation 0. log_ratio = policy - reference."""
    return log_ratio


def kl_k2(log_ratio: Tensor) -> Tensor:
    """(log pi/pi_ref)^2 / 2: biased value; gradient of the reverse KL(pi || pi_ref)."""
    return log_ratio.square() / 2


def kl_k3(log_ratio: Tensor) -> Tensor:
    """pi_ref/pi - 1 - log(pi_ref/pi), GRPO's choice: unbiased value >= 0; gradient of the forward KL(pi_ref || pi).

    http://joschu.net/blog/kl-approx.html; expm1 keeps it non-negative near 0, and beyond MAX_LOG_RATIO the
    exponential continues as a straight line, so that neither value nor gradient overflows or vanishes.
    """
    back = -log_ratio
    steepest = math.exp(MAX_LOG_RATIO)
    line = steepest * (back - MAX_LOG_RATIO) + steepest - 1
    return torch.where(back > MAX_LOG_RATIO, line, torch.expm1(back.clamp(max=MAX_LOG_RATIO))) - back


KL_ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def grpo_loss(
    policy_logps: Tensor,
    old_logps: Tensor | None,
    ref_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    kl_coef: float,
    kl_estimator: str = "k3",
) -> tuple[Tensor, dict[str, tuple[float, float]]]:
    """Loss of one micro-batch: -sum w (surrogate - kl_coef * KL), and (sum, count) statistics for the log.

    policy_logps (N, T) with gradient; old_logps (N, T), or None when the policy itself made the rollout and has not
    moved since (old = detach(policy), ratio exactly 1); ref_logps (N, T); advantages (N,); mask, weights (N, T).
    """
    behaviour = policy_logps.detach() if old_logps is None else old_logps
    log_ratio = torch.where(mask, policy_logps - behaviour, 0.0)
    surrogate, clipped = clipped_surrogate(log_ratio, advantages, clip_low, clip_high)
    ref_log_ratio = torch.where(mask, policy_logps - ref_logps, 0.0)
    loss = -(weights * surrogate).sum()
    if kl_coef:
        loss = loss + kl_coef * (weights * KL_ESTIMATORS[kl_estimator](ref_log_ratio)).sum()
    count = float(mask.sum())
    with torch.no_grad():
        kl = kl_k3(ref_log_ratio.detach())
        stats = {
            "kl_mean": (float(kl.sum()), count),
            "clip_share": (float((clipped & mask).sum()), count),
            "ratio_mean": (float((log_ratio.detach().exp() * mask).sum()), count),
        }
    return loss, stats
