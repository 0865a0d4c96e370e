"""Agreement inside groups, and an alarm that rings when it should and only then."""

import random

import pytest
import torch

from reward.panel import agreement, gaming_alarm


def rows(
    reward: float, held_out: float, chrf: float, steps: int = 40, noise: float = 0.02, seed: int = 0
) -> list[dict]:
    """Steps whose three measures move by so much from the start to the end, with noise."""
    draw = random.Random(seed)
    names = {"reward_mean": reward, "cosine_held_out_mean": held_out, "chrf_mean": chrf}
    return [
        {"step": step, **{n: 0.5 + slope * step / steps + draw.gauss(0, noise) for n, slope in names.items()}}
        for step in range(steps)
    ]


def test_agreement_is_within_groups() -> None:
    """Over all completions the two go together (0 against 5); inside each group they are opposite."""
    rewards = torch.tensor([[0.0, 1.0], [5.0, 6.0]])
    other = torch.tensor([[1.0, 0.0], [6.0, 5.0]])
    assert agreement(rewards, other) == -1.0
    assert torch.corrcoef(torch.stack([rewards.flatten(), other.flatten()]))[0, 1] > 0.9


def test_agreement_leaves_out_what_is_missing() -> None:
    """Counted as 0, the missing reward of the best completion would turn a full agreement round."""
    nan = float("nan")
    assert agreement(torch.tensor([[0.2, 0.4, 0.6, nan]]), torch.tensor([[0.1, 0.2, 0.3, 0.9]])) == 1.0
    assert agreement(torch.tensor([[0.2, 0.4, 0.6, -9.0]]), torch.tensor([[0.1, 0.2, 0.3, nan]])) == 1.0
    assert agreement(torch.full((1, 3), nan), torch.tensor([[0.1, 0.2, 0.3]])) == 0.0


def test_agreement_of_a_constant_is_zero() -> None:
    assert agreement(torch.tensor([[0.7, 0.7]]), torch.tensor([[0.0, 1.0]])) == 0.0


def test_agreement_by_hand() -> None:
    a = torch.tensor([[-1.0, 0.0, 1.0]])
    b = torch.tensor([[0.0, 3.0, 3.0]])
    assert agreement(a, b) == pytest.approx(3 / (2 * 6) ** 0.5, abs=1e-6)


def test_alarm_rings_when_the_reward_rises_and_both_others_fall() -> None:
    message = gaming_alarm(rows(0.5, -0.3, -0.3), 10)
    assert message.startswith("the reward rises while what is not rewarded falls (reward +0.")
    assert "chrf -0.2" in message and "cosine_held_out -0.2" in message


@pytest.mark.parametrize(
    ("reward", "held_out", "chrf"),
    [(0.5, 0.3, 0.3), (0.5, -0.3, 0.0), (0.5, 0.0, -0.3), (-0.5, -0.3, -0.3), (0.0, -0.3, -0.3)],
)
def test_alarm_is_silent_otherwise(reward: float, held_out: float, chrf: float) -> None:
    assert gaming_alarm(rows(reward, held_out, chrf), 10) == ""


def test_noise_alone_rings_no_alarm() -> None:
    assert [seed for seed in range(200) if gaming_alarm(rows(0.0, 0.0, 0.0, seed=seed), 10)] == []


def test_too_few_or_unwatched_steps_ring_no_alarm() -> None:
    steps = rows(0.5, -0.3, -0.3)
    assert gaming_alarm(steps[:19], 10) == ""
    assert gaming_alarm([{"step": row["step"], "reward_mean": row["reward_mean"]} for row in steps], 10) == ""
