"""Group advantages: exact zeros, identities, invariances, and rewards that are missing."""

import math

import pytest
import torch
from torch import Tensor

from grpo.advantage import BASELINES, SCALES, group_advantages, group_spread

every_baseline = pytest.mark.parametrize("baseline", BASELINES)
every_scale = pytest.mark.parametrize("scale", SCALES)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_baseline
@every_scale
@pytest.mark.parametrize("size", range(2, 65))
def test_constant_group_has_exactly_zero_advantage(size: int, scale: str, baseline: str) -> None:
    """Past bug: the fp32 mean of equal rewards is inexact, and a tiny eps then blows round-off up to
    advantages near 1.
    """
    values = random(50, 1, seed=size).float().expand(50, size)
    assert torch.equal(
        group_advantages(values, 1e-8, baseline, scale), torch.zeros(50, size, dtype=torch.float64)
    )


def test_hand_computed_group() -> None:
    """(.9 .2 .6 .1): mean .45, Bessel std sqrt(.41/3); the fixture of TRL's own loss."""
    advantages = group_advantages(torch.tensor([[0.9, 0.2, 0.6, 0.1]], dtype=torch.float64), std_floor=1e-4)
    std = math.sqrt((0.45**2 + 0.25**2 + 0.15**2 + 0.35**2) / 3)
    assert (
        advantages - torch.tensor([[0.45, -0.25, 0.15, -0.35]], dtype=torch.float64) / std
    ).abs().max() < 1e-12


def test_batch_std_by_hand() -> None:
    """Two groups (0, 1) and (0, 3): means .5 and 1.5, and one divisor, the Bessel std of (0, 1, 0, 3) =
    sqrt(6/3).
    """
    advantages = group_advantages(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 1e-3, scale="batch_std")
    assert (
        advantages - torch.tensor([[-0.5, 0.5], [-1.5, 1.5]], dtype=torch.float64) / math.sqrt(2)
    ).abs().max() < 1e-12


@every_baseline
@every_scale
def test_mean_is_zero_and_std_is_one(scale: str, baseline: str) -> None:
    advantages = group_advantages(random(20, 8), 1e-6, baseline, scale)
    assert advantages.mean(dim=1).abs().max() < 1e-12
    if (baseline, scale) == ("mean", "std"):
        assert (advantages.std(dim=1) - 1).abs().max() < 1e-12


def test_spread_below_the_floor_stays_small() -> None:
    """The noise of an encoder, 1e-7, does not become a lesson."""
    rewards = 0.7 + 1e-7 * torch.arange(8)[None]
    assert group_advantages(rewards, std_floor=1e-3).abs().max() < 1e-2
    assert group_spread(rewards).item() < 1e-3


@pytest.mark.parametrize("size", [2, 8, 64])
@every_baseline
def test_outlier_is_bounded_by_the_group_size(size: int, baseline: str) -> None:
    """(n-1)/sqrt(n) with Bessel's std, times n/(n-1) when its own reward is left out of the baseline; and the
    bound is reached.
    """
    bound = (size - 1) / math.sqrt(size) * (1 if baseline == "mean" else size / (size - 1))
    advantages = group_advantages(torch.tensor([[0.95] * (size - 1) + [0.0]]), 1e-3, baseline)
    assert advantages.abs().max().item() == pytest.approx(bound, abs=1e-12)


def test_shift_and_scale_of_rewards_change_nothing() -> None:
    rewards = random(5, 8)
    for scale in ("std", "batch_std"):
        moved = group_advantages(3 * rewards - 7, 3e-6, scale=scale)
        expected = group_advantages(rewards, 1e-6, scale=scale)
        assert (moved - expected).abs().max() < 1e-9
    # a shift for each group: its own spread stays, and the batch's would change
    shifts = torch.arange(5, dtype=torch.float64)[:, None]
    assert (group_advantages(3 * rewards - shifts, 3e-6) - group_advantages(rewards, 1e-6)).abs().max() < 1e-9


@every_baseline
@every_scale
def test_groups_and_members_can_be_permuted(scale: str, baseline: str) -> None:
    rewards = random(6, 8, seed=1)
    rows = random(6, seed=2).argsort()
    columns = random(8, seed=3).argsort()
    permuted = group_advantages(rewards[rows][:, columns], 1e-3, baseline, scale)
    assert (permuted - group_advantages(rewards, 1e-3, baseline, scale)[rows][:, columns]).abs().max() < 1e-12


@pytest.mark.parametrize("size", [2, 3, 8])
def test_leave_one_out_is_the_mean_of_the_others(size: int) -> None:
    """And equals n/(n-1) (r - mean)."""
    rewards = random(4, size)
    advantages = group_advantages(rewards, 1e-3, "leave_one_out", "none")
    others = torch.stack(
        [rewards[:, [j for j in range(size) if j != i]].mean(dim=1) for i in range(size)], dim=1
    )
    assert (advantages - (rewards - others)).abs().max() < 1e-12
    assert (
        advantages - size / (size - 1) * (rewards - rewards.mean(dim=1, keepdim=True))
    ).abs().max() < 1e-12


@every_baseline
@every_scale
def test_missing_rewards_take_no_part(scale: str, baseline: str) -> None:
    """The rest of the group gets what it would get alone; the missing one gets 0. Groups with one or no
    reward left get 0.
    """
    rewards = random(3, 6)
    whole = rewards[:, [0, 2, 3, 5]]
    with_gaps = rewards.clone()
    with_gaps[:, [1, 4]] = math.nan
    advantages = group_advantages(with_gaps, 1e-3, baseline, scale)
    assert (advantages[:, [0, 2, 3, 5]] - group_advantages(whole, 1e-3, baseline, scale)).abs().max() < 1e-12
    assert torch.equal(advantages[:, [1, 4]], torch.zeros(3, 2, dtype=torch.float64))
    for infinity in (math.inf, -math.inf):  # no number either, and no reason to lose all others
        infinite = with_gaps.where(~with_gaps.isnan(), infinity)
        assert torch.equal(group_advantages(infinite, 1e-3, baseline, scale), advantages)
        assert torch.equal(group_spread(infinite), group_spread(with_gaps))
    few = torch.tensor([[math.nan, 0.3, math.nan], [math.nan] * 3])
    assert torch.equal(group_advantages(few, 1e-3, baseline, scale), torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(group_spread(few), torch.zeros(2, dtype=torch.float64))


@every_baseline
@every_scale
def test_group_of_one_has_zero_advantage(scale: str, baseline: str) -> None:
    assert group_advantages(torch.tensor([[0.3]]), 1e-3, baseline, scale).item() == 0.0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="known values: std, batch_std, none"):
        group_advantages(torch.zeros(1, 2), 1e-3, scale="max")
    with pytest.raises(ValueError, match="known values: mean, leave_one_out"):
        group_advantages(torch.zeros(1, 2), 1e-3, baseline="median")
