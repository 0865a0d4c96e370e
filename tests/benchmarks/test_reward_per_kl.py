"""Gains over a start and the distance from it: the KL of known distributions, a paired error by hand, the table's cells."""

import pytest
import torch

from benchmarks.reward_per_kl import GREEDY, Outcome, gain, rows
from grpo.kl import kl_k3


def test_the_kl_of_two_known_distributions_is_met_and_no_token_is_below_0() -> None:
    """KL((.5, .3, .2) || (.2, .3, .5)) = .3 log 2.5 = 0.27489, of log policy - log start as the table takes it."""
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    start = policy.flip(0)
    tokens = torch.multinomial(policy.exp(), 200_000, True, generator=torch.Generator().manual_seed(0))
    found = kl_k3(policy[tokens] - start[tokens])
    assert float(found.mean()) == pytest.approx(0.27489, abs=0.005) and float(found.min()) >= 0
    exact = (policy.exp() * kl_k3(policy - start)).sum()
    assert float(exact) == pytest.approx(0.3 * torch.tensor(2.5, dtype=torch.float64).log().item(), abs=1e-12)


def test_the_error_of_a_gain_is_that_of_the_differences() -> None:
    """Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, error 0.1 / sqrt(3), whatever the prompts' own spread."""
    before = torch.tensor([0.0, 5.0, -5.0])
    mean, error = gain(before + torch.tensor([0.1, 0.2, 0.3]), before)
    assert (mean, error) == pytest.approx((0.2, 0.1 / 3**0.5), abs=1e-6)


def outcome(shift: float, kl: float) -> Outcome:
    values = torch.tensor([0.2, 0.4])
    sampled = dict.fromkeys(("reward", "cosine_held_out"), values + shift)
    return Outcome(sampled, dict.fromkeys(GREEDY, values + 2 * shift), kl, 1.5)


def test_a_row_has_gains_and_the_reward_per_nat() -> None:
    _, _, start, trained = rows(["warm start", "a"], [outcome(0.0, 0.0), outcome(0.1, 0.4)])
    assert start == "| warm start | 0.000 | 1.50 | 0.300 | 0.300 | 0.300 | 0.300 | 0.300 |  |"
    gains = ["+0.100 (0.000)"] * 2 + ["+0.200 (0.000)"] * 3
    assert trained == f"| a | 0.400 | 1.50 | {' | '.join(gains)} | 0.25 |"
