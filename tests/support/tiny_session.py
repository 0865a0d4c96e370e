"""A GRPO run of the tiny model as objects, for tests of what a whole run must do and must leave alone."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_gemma
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from data.examples import Example
from data.prompt import Prompt
from data.stream import PromptStream
from grpo.config import AdvantageConfig, Config, LossConfig, OptimConfig, RolloutConfig, TrainConfig
from grpo.engine.model import frozen_copy
from grpo.engine.sharding import shard
from grpo.loop import train_grpo
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint, device
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.run_log import RunLog
from grpo.samples import sampling_of
from grpo.training import Task, Training

Texts = Sequence[str]
Rewards = tuple[torch.Tensor, dict[str, torch.Tensor]]  # (P, G), and by the name of each term
EXAMPLES = [Example(f"e{i}", f"source {i}", "aaaa", "made up", "none", "bo", "zh") for i in range(12)]
CONFIG = Config(
    rollout=RolloutConfig(num_prompts=4, group_size=4, max_new_tokens=6),
    train=TrainConfig(num_steps=6, optim=OptimConfig(lr=1e-3)),
    loss=LossConfig(kl_coef=0.01),
    advantage=AdvantageConfig(std_floor=1e-3),
)
TWO_PASSES = replace(CONFIG, train=replace(CONFIG.train, passes=2, prompts_per_update=2))


def count_of_a(sources: Texts, completions: Texts, references: Sequence[Texts], group_size: int) -> Rewards:
    """A toy reward with a known optimum: the share of the six tokens that are the letter a."""
    values = torch.tensor([text.count("a") / 6 for text in completions]).view(-1, group_size)
    return values, {"a": values}


def variety(sources: Texts, completions: Texts, references: Sequence[Texts], group_size: int) -> Rewards:
    """A reward that differs in every group: with equal rewards the gradient is round-off, which Adam makes
    steps of.
    """
    values = torch.tensor([sum(map(ord, text)) % 97 / 97 for text in completions]).view(-1, group_size)
    return values, {
        "variety": values,
        "length": values.new_tensor([len(text) for text in completions]).view_as(values),
    }


class Session:
    """One training process: fresh objects, as after a restart. `between` is called after every update, for
    what a test does there.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        tokenizer: PreTrainedTokenizerFast,
        seed: int = 0,
        reward: Callable[[Texts, Texts, Sequence[Texts], int], Rewards] = count_of_a,
        policy: PreTrainedModel | None = None,
        examples: Sequence[Example] = EXAMPLES,
        between: Callable[[LoopState], None] = lambda _: None,
        world: World = SINGLE_PROCESS,
    ):
        self.config = config
        self.folder = folder
        self.tokenizer = tokenizer
        self.reward = reward
        self.examples = examples
        self.between = between
        self.world = world
        self.policy: PreTrainedModel = tiny_gemma(seed) if policy is None else policy
        self.reference = frozen_copy(self.policy, on_host=config.engine.frozen == "host")
        for model in (self.policy, self.reference):
            shard(model, world)
        self.optimizer = Optimizer(
            self.policy, config.train.optim, config.train.num_steps * config.updates_per_step, config.engine
        )
        self.state = LoopState()

    def parts(
        self, log: RunLog, after: Callable[[LoopState], bool] = lambda _: False
    ) -> tuple[Training, Task]:
        """What a loop is given."""
        training = Training(
            self.policy, self.optimizer, log, device.choose("cpu"), world=self.world, after_update=after
        )
        prompts = PromptStream(self.examples, self.config.rollout.num_prompts, self.config.seed)
        prompt = Prompt.of(self.tokenizer)
        return training, Task(prompts, prompt, self.reward, self.reference, sampling_of(self.config, prompt))

    def run(self, stop_at: int | None = None, update: int = 0) -> LoopState:
        """Until the end, or until step `stop_at`, after `update` of its updates, where a checkpoint is
        written.
        """

        def after(state: LoopState) -> bool:
            self.between(state)
            stopping = (state.step, state.update) == (stop_at, update)
            if stopping:
                checkpoint.save(self.folder / "checkpoints", self.policy, self.optimizer, state, keep=1)
            return stopping

        with RunLog(
            self.folder, "train", self.state.step, self.config.train.num_steps, {"reward_mean": "reward"}
        ) as log:
            self.state = train_grpo(self.config, *self.parts(log, after), self.state)
        return self.state

    def resume(self) -> None:
        self.state = checkpoint.restore(
            checkpoint.checkpoints(self.folder / "checkpoints")[-1], self.policy, self.optimizer
        )

    def resumed(self) -> "Session":
        """A process that goes on from the last checkpoint, which overwrites its own model."""
        again = Session(
            self.config, self.folder, self.tokenizer, seed=5, reward=self.reward, examples=self.examples
        )
        again.reference = self.reference
        again.resume()
        return again

    def metrics(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "tokens_per_second")}
            for row in rows
        ]
