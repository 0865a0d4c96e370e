"""Estimators of the KL divergence to the reference policy, and the coefficient that weighs it. Pure.

log_ratio = policy_logps - ref_logps, (N, T). An estimator in a loss is judged by its *gradient*: what a
method's authors call "the KL" may have the gradient of another divergence, or none. Each line below says
which.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp(20) = 4.9e8: far outside any clip range, far inside fp32
GAIN = 0.1  # of the controller: share of the error that a step takes up
LARGEST_ERROR = 0.2  # that it sees, as a share of the target


def kl_k1(log_ratio: Tensor) -> Tensor:
    """log(pi/pi_ref): unbiased value, but its gradient in a loss has expectation 0
    (http://joschu.net/blog/kl-approx.html).
    """
    return log_ratio


def kl_k2(log_ratio: Tensor) -> Tensor:
    """(log pi/pi_ref)^2 / 2: biased value; gradient of the reverse KL(pi || pi_ref)
    (http://joschu.net/blog/kl-approx.html).
    """
    return log_ratio.square() / 2


def kl_k3(log_ratio: Tensor) -> Tensor:
    """pi_ref/pi - 1 - log(pi_ref/pi), GRPO's choice (arXiv 2402.03300 eq. 4): unbiased value >= 0.

    Its gradient in a loss is that of the *forward* KL(pi_ref || pi). expm1 keeps it non-negative near 0, and
    beyond MAX_LOG_RATIO the exponential continues as a straight line, so that neither value nor gradient
    overflows or vanishes.
    """
    back = -log_ratio
    steepest = math.exp(MAX_LOG_RATIO)
    line = steepest * (back - MAX_LOG_RATIO) + steepest - 1
    return torch.where(back > MAX_LOG_RATIO, line, torch.expm1(back.clamp(max=MAX_LOG_RATIO))) - back


# name -> (estimator, whether it is multiplied by the ratio to the policy that sampled, pi/pi_old, gradient and all)
KL_ESTIMATORS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "k1": (kl_k1, False),
    "k2": (kl_k2, False),
    "k3": (kl_k3, False),
    # gradient of the reverse KL(pi || pi_ref), also when pi has moved from pi_old (arXiv 2510.01555)
    "k1_ratio": (kl_k1, True),
    # the same expected gradient with less variance near the reference (DeepSeek-V3.2, arXiv 2512.02556)
    "k3_ratio": (kl_k3, True),
}


def kl_term(ref_log_ratio: Tensor, ratio: Tensor, estimator: str) -> Tensor:
    """(N, T) log ratio to the reference and (N, T) ratio to the policy that sampled -> (N, T) KL term of the
    loss, in nats.
    """
    function, weighted = KL_ESTIMATORS[estimator]
    return function(ref_log_ratio) * ratio if weighted else function(ref_log_ratio)


def full_kl(base: Tensor, policy: Tensor) -> Tensor:
    """(..., V) log-probabilities of both -> (...) fp64 KL(base || policy) = sum_v base(v) (log base(v) - log
    policy(v)), nats.

    `- base + policy` adds up to 0 over a vocabulary; it takes the first-order rounding of the two normalisers
    out of small divergences and makes no term negative.

    >>> full_kl(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log())  # log 2 - log(3) / 2
    tensor(0.1438, dtype=torch.float64)
    """
    weight = base.exp()
    return (weight * (base - policy) - weight + policy.exp()).sum(dim=-1, dtype=torch.float64)


def reverse_kl_slope(policy: Tensor, base: Tensor, kl: Tensor) -> Tensor:
    """(..., V) log-probabilities of both and (...) `kl` = KL(policy || base) -> (..., V) its gradient with respect to the
    policy's logits, pi(v) (log pi(v) - log base(v) - kl). It adds up to 0 over the vocabulary.

    >>> reverse_kl_slope(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log(), torch.tensor(0.1438))
    tensor([ 0.2747, -0.2746])
    """
    return policy.exp() * (policy - base - kl[..., None].to(policy.dtype))


def next_kl_coef(kl_coef: float, kl: float, target: float) -> float:
    """The coefficient of the next step: moved so that the measured KL (nats per token) goes to `target`;
    unmoved when target is 0.

    Proportional control in log space, at most 2 % a step (arXiv 1909.08593 section 2.2). A KL that is not
    finite moves nothing.

    >>> next_kl_coef(0.05, kl=0.04, target=0.02), next_kl_coef(0.05, kl=0.04, target=0.0)
    (0.051000000000000004, 0.05)
    """
    if not target or not math.isfinite(kl):
        return kl_coef
    error = max(-LARGEST_ERROR, min(LARGEST_ERROR, kl / target - 1))
    return kl_coef * (1 + GAIN * error)
