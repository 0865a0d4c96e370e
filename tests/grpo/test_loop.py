"""The GRPO loop on a tiny model: exact resume, and what it must leave alone. What it learns:
test_toy_task.py.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from tiny import byte_tokenizer
from tiny_session import CONFIG, EXAMPLES, TWO_PASSES, Rewards, Session, variety
from transformers import PreTrainedTokenizerFast

from grpo.config import Config, LossConfig
from grpo.engine.model import parameter_hash
from grpo.runtime.parallel import World
from grpo.training import reward_examples
from reward.rows import References, Texts


def test_first_step_has_no_kl_no_clip_and_no_gap(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    session = Session(CONFIG, tmp_path, tiny_tokenizer)
    session.run(stop_at=1)
    row = session.metrics()[0]
    assert (row["kl_mean"], row["clip_share"], row["ratio_mean"]) == (0.0, 0.0, 1.0)
    assert row["ratio_gap_max"] < 1e-5


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_constant_reward_leaves_the_policy_where_it_is(
    config: Config, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """No advantage and no KL yet: the gradient is exactly zero, and Adam without decay moves nothing.

    Past bug: scored in other cuts than it was updated in, the KL was 1e-7 instead of 0, of which Adam made a
    nat within a step.
    """

    session = Session(
        replace(config, loss=LossConfig(kl_coef=0.1)), tmp_path, tiny_tokenizer, reward=constant
    )
    check_that_nothing_moves(session)


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_nor_does_it_move_the_policy_of_two_processes(config: Config, tmp_path: Path) -> None:
    """Obituary: a process scored the prompts that it had sampled and learned from others, so six steps moved weights by
    twice the learning rate.
    """
    config = replace(config, loss=LossConfig(kl_coef=0.1), train=replace(config.train, num_steps=2))
    assert run_ranks(2, run_with_constant_reward, config, tmp_path) == [0, 0]


def test_an_infinite_reward_is_a_missing_one() -> None:
    values = torch.tensor([[1.0, math.inf, -math.inf, math.nan]])
    rewards, _ = reward_examples(lambda *_: (values, {}), EXAMPLES[:4], ["a"] * 4, 4)
    assert rewards.isnan().tolist() == [[False, True, True, True]]


def test_a_run_whose_completions_are_all_cut_learns_nothing(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """With loss.skip_cut, and neither a loss nor a KL term of it; without, the same rewards move the policy."""
    for skip_cut in (True, False):
        rollout = replace(CONFIG.rollout, num_prompts=1, max_new_tokens=1)
        config = replace(CONFIG, rollout=rollout, loss=replace(CONFIG.loss, skip_cut=skip_cut))
        session = Session(config, tmp_path / str(skip_cut), tiny_tokenizer, reward=variety)
        before = parameter_hash(session.policy)
        session.run(stop_at=1)
        row = session.metrics()[0]
        assert row["cut_share"] == 1.0 and row["zero_std_share"] < 1.0
        assert (parameter_hash(session.policy) == before) == skip_cut == (row["grad_norm"] == 0.0)


def constant(sources: Texts, completions: Texts, references: References, group_size: int) -> Rewards:
    return torch.full((len(completions) // group_size, group_size), 0.7), {}


def run_with_constant_reward(world: World, config: Config, folder: Path) -> None:
    data = replace(world, mode="data")
    own = folder / str(world.rank)
    check_that_nothing_moves(Session(config, own, byte_tokenizer(), reward=constant, world=data))


def check_that_nothing_moves(session: Session) -> None:
    before = parameter_hash(session.policy)
    session.run()
    assert parameter_hash(session.policy) == before
    for row in session.metrics():
        assert (row["zero_std_share"], row["kl_mean"], row["grad_norm"], row["ratio_mean"]) == (
            1.0,
            0.0,
            0.0,
            1.0,
        )
