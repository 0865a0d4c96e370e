"""The GRPO loop on a tiny model: exact resume, learning, controls, and what it must leave alone."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_gemma
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from data.examples import Example
from data.stream import PromptStream
from grpo import checkpoint, device
from grpo.config import AdvantageConfig, Config, LossConfig, OptimConfig, RolloutConfig, TrainConfig
from grpo.loop import train_grpo
from grpo.metrics import RunLog
from grpo.optim import Optimizer
from grpo.policy import frozen_copy, parameter_hash
from grpo.records import LoopState

EXAMPLES = [Example(f"e{i}", f"source {i}", "aaaa", "made up", "none", "bo", "zh") for i in range(12)]
CONFIG = Config(
    rollout=RolloutConfig(num_prompts=4, group_size=4, max_new_tokens=6),
    train=TrainConfig(num_steps=6, optim=OptimConfig(lr=1e-3)),
    loss=LossConfig(kl_coef=0.01),
    advantage=AdvantageConfig(std_floor=1e-3),
)
TWO_PASSES = replace(CONFIG, train=replace(CONFIG.train, passes=2, prompts_per_update=2))


def count_of_a(sources: Sequence[str], completions: Sequence[str], references: Sequence[str], group_size: int) -> tuple:
    """A toy reward with a known optimum: the share of the six tokens that are the letter a."""
    values = torch.tensor([text.count("a") / 6 for text in completions]).view(-1, group_size)
    return values, {"a": values}


class Session:
    """One training process: fresh objects, as after a restart."""

    def __init__(self, config: Config, folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int = 0, reward: Callable = count_of_a):
        self.config, self.folder, self.tokenizer, self.reward = config, folder, tokenizer, reward
        self.policy: PreTrainedModel = tiny_gemma(seed)
        self.reference = frozen_copy(self.policy)
        updates = config.train.passes * config.rollout.num_prompts // (config.train.prompts_per_update or config.rollout.num_prompts)
        self.optimizer = Optimizer(self.policy, config.train.optim, config.train.num_steps * updates)
        self.state = LoopState()

    def run(self, stop_at: int | None = None) -> LoopState:
        def after(state: LoopState) -> bool:
            if state.step == stop_at:
                checkpoint.save(self.folder / "checkpoints", self.policy, self.optimizer, state, keep=1)
            return state.step == stop_at

        with RunLog(self.folder, "grpo", self.state.step, self.config.train.num_steps, {"reward_mean": "reward"}) as log:
            prompts, compute = PromptStream(EXAMPLES, self.config.rollout.num_prompts, self.config.seed), device.choose("cpu")
            arguments = (self.config, self.policy, self.reference, self.tokenizer, prompts, self.reward, self.optimizer, log)
            self.state = train_grpo(*arguments, self.state, compute, after_step=after)
        return self.state

    def resume(self) -> None:
        self.state = checkpoint.restore(checkpoint.checkpoints(self.folder / "checkpoints")[-1], self.policy, self.optimizer)

    def metrics(self) -> list[dict]:
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key not in ("seconds", "tokens_per_second")} for row in rows]


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_resumed_run_is_bit_equal(config: Config, stop_at: int, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    whole = Session(config, tmp_path / "whole", tiny_tokenizer)
    whole.run()
    first = Session(config, tmp_path / "parts", tiny_tokenizer)
    first.run(stop_at)
    second = Session(config, tmp_path / "parts", tiny_tokenizer)
    second.resume()
    assert second.state.step == stop_at
    assert second.run() == whole.state
    assert parameter_hash(second.policy) == parameter_hash(whole.policy)
    assert second.metrics() == whole.metrics()


def test_first_step_has_no_kl_no_clip_and_no_gap(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    session = Session(CONFIG, tmp_path, tiny_tokenizer)
    session.run(stop_at=1)
    row = session.metrics()[0]
    assert row["kl_mean"] == pytest.approx(0.0, abs=1e-9)
    assert (row["clip_share"], row["ratio_mean"]) == (0.0, 1.0)
    assert row["ratio_gap_max"] < 1e-5


def test_reference_never_moves(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    session = Session(CONFIG, tmp_path, tiny_tokenizer)
    before = parameter_hash(session.reference)
    session.run()
    assert parameter_hash(session.reference) == before
    assert parameter_hash(session.policy) != before
    assert not any(parameter.requires_grad for parameter in session.reference.parameters())


@pytest.mark.parametrize("max_tokens", [40, 100_000])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_how_a_step_is_cut_does_not_matter(
    max_tokens: int, share_prefix: bool, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Micro-batches of one group or all at once, prompt stored once or G times: the same first update to rounding."""
    train = replace(CONFIG.train, max_tokens_per_pass=max_tokens, share_prefix=share_prefix)
    base, other = Session(CONFIG, tmp_path / "a", tiny_tokenizer), Session(replace(CONFIG, train=train), tmp_path / "b", tiny_tokenizer)
    base.run(stop_at=1)
    other.run(stop_at=1)
    assert base.metrics()[0]["grad_norm"] == pytest.approx(other.metrics()[0]["grad_norm"], rel=1e-5)


def test_constant_reward_leaves_the_policy_where_it_is(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """No advantage and no KL yet: the gradient is exactly zero, and Adam without decay moves nothing."""

    def constant(sources: Sequence[str], completions: Sequence[str], references: Sequence[str], group_size: int) -> tuple:
        return torch.full((len(completions) // group_size, group_size), 0.7), {}

    session = Session(replace(CONFIG, loss=LossConfig(kl_coef=0.0)), tmp_path, tiny_tokenizer, reward=constant)
    before = parameter_hash(session.policy)
    session.run()
    assert parameter_hash(session.policy) == before
    assert {row["zero_std_share"] for row in session.metrics()} == {1.0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_toy_task_is_learned(seed: int, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    train = TrainConfig(num_steps=60, optim=OptimConfig(lr=3e-3))
    config = replace(
        CONFIG, seed=seed, train=train, rollout=replace(CONFIG.rollout, group_size=16, num_prompts=8), loss=LossConfig(kl_coef=0.0)
    )
    session = Session(config, tmp_path, tiny_tokenizer, seed)
    session.run()
    rewards = [row["reward_mean"] for row in session.metrics()]
    assert rewards[0] < 0.2
    assert sum(rewards[-5:]) / 5 > 0.9
