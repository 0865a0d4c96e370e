"""Learned metrics that score a share of the groups: which ones, what the others are paid, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data.errors import InputError
from grpo.config import Config
from grpo.config_check import check as check_config
from reward.combine import RewardConfig, check_section, combine
from reward.rows import References, Texts
from reward.share import chosen_groups

GROUPS = 2000
SOURCES = [f"source {i // 2}" for i in range(2 * GROUPS)]
COMPLETIONS = [f"completion {i}" for i in range(2 * GROUPS)]


@pytest.mark.parametrize("share", [0.03, 0.25, 0.9])
def test_the_share_of_the_groups_is_chosen(share: float) -> None:
    chosen = chosen_groups(SOURCES, COMPLETIONS, 2, share)
    errors = math.sqrt(share * (1 - share) / GROUPS)
    assert chosen.shape == (GROUPS,) and abs(chosen.float().mean().item() - share) < 4 * errors


def test_a_group_is_chosen_by_its_own_texts() -> None:
    """Whatever is beside it, as in another number of processes; other completions of a prompt are another draw."""
    chosen = chosen_groups(SOURCES, COMPLETIONS, 2, 0.3)
    second_half = chosen_groups(SOURCES[GROUPS:], COMPLETIONS[GROUPS:], 2, 0.3)
    assert torch.equal(chosen[GROUPS // 2 :], second_half)
    others = chosen_groups(SOURCES, [f"{text}!" for text in COMPLETIONS], 2, 0.3)
    both = (chosen & others).float().mean().item()
    assert abs(both - 0.09) < 4 * math.sqrt(0.09 * 0.91 / GROUPS)
    assert chosen_groups([], [], 2, 0.3).shape == (0,)


def lengths(sources: Texts, completions: Texts, references: References) -> Tensor:
    return torch.tensor([float(len(text)) for text in completions])


class Metric:
    """A stand-in of a learned metric, which remembers what it has scored."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, sources: Texts, completions: Texts, references: References) -> Tensor:
        self.texts += completions
        return torch.tensor([len(text) / 10 for text in completions])


ROWS = (["a"] * 2 + ["b"] * 2, ["x", "xx", "xxx", "xxxx"], [["r"]] * 4)
SHARE = 0.65  # the first group is chosen, and the second is not


def test_groups_without_the_metric_are_paid_by_the_other_terms() -> None:
    """By hand: length + 2 x metric where it scores, and the length alone elsewhere; the metric reads no other text."""
    metric = Metric()
    reward = combine({"length": lengths, "metric": metric}, {"length": 1.0, "metric": 2.0}, rare=["metric"])
    assert chosen_groups(*ROWS[:2], 2, SHARE).tolist() == [True, False]
    rewards, terms = reward(*ROWS, 2, share=SHARE)
    torch.testing.assert_close(rewards, torch.tensor([[1.2, 2.4], [3.0, 4.0]]))
    assert metric.texts == ["x", "xx"]
    assert terms["metric"].isnan().tolist() == [[False, False], [True, True]]
    whole, _ = reward(*ROWS, 2)
    torch.testing.assert_close(whole, torch.tensor([[1.2, 2.4], [3.6, 4.8]]))


@pytest.mark.parametrize("normalise", [False, True, "rank"])
def test_as_a_gate_it_is_open_elsewhere(normalise: bool | str) -> None:
    terms = {"length": lengths, "metric": Metric()}
    reward = combine(terms, {"length": 1.0}, ["metric"], normalise=normalise, rare=["metric"])
    without = combine({"length": lengths}, {"length": 1.0}, normalise=normalise)
    chosen = chosen_groups(*ROWS[:2], 2, SHARE)
    mixed, whole, other = reward(*ROWS, 2, share=SHARE)[0], reward(*ROWS, 2)[0], without(*ROWS, 2)[0]
    assert torch.equal(mixed, torch.where(chosen[:, None], whole, other))


def test_what_cannot_work_is_refused() -> None:
    alone = RewardConfig(metrics={"kiwi": "x"}, weights={"kiwi": 1.0}, metric_share=0.5)
    with pytest.raises(
        InputError, match=r"reward\.metric_share = 0\.5: groups that no learned metric scores"
    ):
        check_section(alone)
    check_section(replace(alone, weights={"kiwi": 1.0, "chrf": 1.0}))
    with pytest.raises(InputError, match=r"reward\.metric_share = 0: must be at least"):
        check_section(replace(alone, metric_share=0))
    with pytest.raises(
        InputError, match=r"reward\.metric_share = 0\.5: there is no learned metric; name one"
    ):
        check_section(RewardConfig(metric_share=0.5))
    config = replace(Config(), reward=replace(Config().reward, metrics={"kiwi": "x"}, metric_share=0.5))
    with pytest.raises(InputError, match=r"chooses groups of completions, and guide\.mode = 'member'"):
        check_config(replace(config, guide=replace(config.guide, mode="member")))
