"""The GRPO loop on a tiny model: exact resume, and what it must leave alone. What it learns:
test_toy_task.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_session import CONFIG, TWO_PASSES, Session
from transformers import PreTrainedTokenizerFast

from grpo.config import Config, LossConfig
from grpo.engine.model import parameter_hash


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

    def constant(
        sources: Sequence[str], completions: Sequence[str], references: Sequence[str], group_size: int
    ) -> tuple:
        return torch.full((len(completions) // group_size, group_size), 0.7), {}

    session = Session(
        replace(config, loss=LossConfig(kl_coef=0.1)), tmp_path, tiny_tokenizer, reward=constant
    )
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
