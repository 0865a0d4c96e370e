"""Group statistics -> advantages. Pure; fp64 inside, because the fp32 mean of equal rewards is not exactly their value.

GRPO: DeepSeekMath (arXiv 2402.03300) section 4.1.2. Without the division: Dr. GRPO (arXiv 2503.20783).
"""

from torch import Tensor


def group_advantages(rewards: Tensor, std_floor: float, scale: str = "std") -> Tensor:
    """Centre, and scale by the sample standard deviation, inside each group: (P, G) -> (P, G) fp32.

    A = (r - mean(r)) / max(std(r), std_floor); `scale="none"` leaves the division out. Equal rewards give exactly 0.

    >>> group_advantages(torch.tensor([[0.0, 1.0], [0.7, 0.7]]), std_floor=1e-4)
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]])
    """
    grouped = rewards.double()
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    if scale == "none":
        return centred.float()
    if scale != "std":
        raise ValueError(f"advantage.scale: unknown value {scale!r}; known values: std, none")
    std = grouped.std(dim=1, keepdim=True, correction=min(1, rewards.shape[1] - 1))
    return (centred / std.clamp_min(std_floor)).float()


def constant_groups(rewards: Tensor, std_floor: float) -> Tensor:
    """(P, G) -> (P,) True where a group's rewards differ by no more than the floor: it teaches nothing."""
    return rewards.double().std(dim=1, correction=0) <= std_floor
