"""Rewards of groups -> advantages. Pure; fp64 inside (reward/groups.py).

A reward that is missing (NaN, or infinite) takes no part in any statistic, and its completion gets the advantage 0.
"""

from torch import Tensor

from reward.groups import deviations, standard_deviation

BASELINES = ("mean", "leave_one_out")
SCALES = ("std", "batch_std", "none")


def group_advantages(rewards: Tensor, std_floor: float, baseline: str = "mean", scale: str = "std") -> Tensor:
    """A = (r - baseline) / max(scale, std_floor) for each completion of each group: (P, G) -> (P, G) fp64.
    Equal rewards give exactly 0.

    baseline  mean           of the group (DeepSeekMath, arXiv 2402.03300 section 4.1.2)
              leave_one_out  mean of the others, = n/(n-1) (r - mean) (RLOO, arXiv 2402.14740): unbiased policy gradient
    scale     std            Bessel's, of the group (GRPO): every prompt weighs the same, hard and easy ones more than by their reward
              batch_std      of all rewards of the step (arXiv 2508.08221)
              none           (Dr. GRPO, arXiv 2503.20783): with `mean`, (n-1)/n of the unbiased policy gradient

    Several rewards each standardised inside the group before their sum (GDPO, arXiv 2601.05242) are
    `reward.normalise = true`.

    >>> group_advantages(torch.tensor([[0.0, 1.0], [0.7, 0.7]]), std_floor=1e-4)
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    for name, value, choices in (("baseline", baseline, BASELINES), ("scale", scale, SCALES)):
        if value not in choices:
            raise ValueError(f"advantage.{name}: unknown value {value!r}; known values: {', '.join(choices)}")
    advantages, count = deviations(rewards)
    if scale == "std":
        advantages = advantages / standard_deviation(advantages, count).clamp_min(std_floor)
    elif scale == "batch_std":
        whole = standard_deviation(*deviations(rewards.reshape(1, -1)))
        advantages = advantages / whole.clamp_min(std_floor)
    return advantages * (count / (count - 1).clamp_min(1)) if baseline == "leave_one_out" else advantages


def group_spread(rewards: Tensor) -> Tensor:
    """(P, G) -> (P,) standard deviation (over n) of each group's rewards; one that is no more than the floor is
    counted as none: it may be the noise of the encoder.
    """
    deviation, count = deviations(rewards)
    return (deviation.square().sum(dim=1) / count[:, 0].clamp_min(1)).sqrt()
