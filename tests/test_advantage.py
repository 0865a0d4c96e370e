"""Group advantages: exact zeros, identities and invariances."""

import doctest
import math

import pytest
import torch

import grpo.advantage
from grpo.advantage import constant_groups, group_advantages


@pytest.mark.parametrize("size", range(2, 65))
def test_constant_group_has_exactly_zero_advantage(size: int) -> None:
    """Obituary: the fp32 mean of equal rewards is inexact, and a tiny eps then blows round-off up to advantages near 1."""
    values = torch.rand(50, 1, generator=torch.Generator().manual_seed(size)).expand(50, size)
    assert torch.equal(group_advantages(values, std_floor=1e-8), torch.zeros(50, size))


def test_hand_computed_group() -> None:
    """(.9 .2 .6 .1): mean .45, Bessel std sqrt(.41/3); the fixture of TRL's own loss."""
    advantages = group_advantages(torch.tensor([[0.9, 0.2, 0.6, 0.1]], dtype=torch.float64), std_floor=1e-4)
    std = math.sqrt((0.45**2 + 0.25**2 + 0.15**2 + 0.35**2) / 3)
    assert torch.allclose(advantages.double(), torch.tensor([[0.45, -0.25, 0.15, -0.35]], dtype=torch.float64) / std, atol=1e-7)


def test_spread_below_the_floor_stays_small() -> None:
    rewards = 0.7 + 1e-7 * torch.arange(8)[None]
    assert group_advantages(rewards, std_floor=1e-3).abs().max() < 1e-2
    assert constant_groups(rewards, std_floor=1e-3).item()


def test_outlier_is_bounded_by_the_group_size() -> None:
    rewards = torch.tensor([[0.95] * 7 + [0.0]])
    assert group_advantages(rewards, std_floor=1e-3).abs().max() <= 7 / math.sqrt(8) + 1e-6


def test_shift_and_scale_of_rewards_change_nothing() -> None:
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(group_advantages(rewards, 1e-6), group_advantages(3 * rewards - 7, 3e-6), atol=1e-6)


def test_groups_and_members_can_be_permuted() -> None:
    rewards = torch.rand(6, 8, generator=torch.Generator().manual_seed(1))
    rows, columns = (
        torch.randperm(6, generator=torch.Generator().manual_seed(2)),
        torch.randperm(8, generator=torch.Generator().manual_seed(3)),
    )
    assert torch.allclose(group_advantages(rewards[rows][:, columns], 1e-3), group_advantages(rewards, 1e-3)[rows][:, columns], atol=1e-6)


def test_mean_only_leaves_the_scale() -> None:
    assert torch.allclose(group_advantages(torch.tensor([[0.0, 3.0]]), 1e-3, scale="none"), torch.tensor([[-1.5, 1.5]]))


def test_group_of_one_has_zero_advantage() -> None:
    assert group_advantages(torch.tensor([[0.3]]), 1e-3).item() == 0.0


def test_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="known values: std, none"):
        group_advantages(torch.zeros(1, 2), 1e-3, scale="max")


def test_docstring_example() -> None:
    assert doctest.testmod(grpo.advantage, extraglobs={"torch": torch}).failed == 0
