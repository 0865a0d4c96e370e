"""GRPO as a method of the stage `train`: the run's reward, its frozen reference policy, its loop."""

from dataclasses import replace

from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from data.stream import PromptStream
from grpo.engine.model import frozen_copy, parameter_hash
from grpo.engine.sharding import is_sharded
from grpo.loop import train_grpo
from grpo.records import LoopState
from grpo.samples import sampling_of
from grpo.stages.context import Run, corpus_of, frozen_model
from grpo.stages.encoder_fit import check_measured_threshold
from grpo.stages.hooks import dev_score
from grpo.stages.method import Method
from grpo.stages.reward_setup import load_reward, log_reward, training_reward
from grpo.training import AfterStep, AfterUpdate, Task, Training

SHOWN = {
    "reward_mean": "reward",
    "kl_mean": "KL",
    "length_mean": "length",
    "ratio_gap_max": "gap",
    "ratio_gap_mean": "mean gap",
    "tokens_per_second": "tok/s",
}


def grpo_method(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: list[Example]) -> Method:
    """GRPO on the prompts of `examples`. The reference is `policy` as it is now, the warm start."""
    config = run.config
    reference = reference_of(run, policy)
    reference_hash = parameter_hash(reference)
    available = len(corpus_of(run).train)
    run.say(f"GRPO on {len(examples):,} prompts ({available - len(examples):,} are over the length limit)")
    reward = load_reward(run, policy, prompt, examples)
    check_measured_threshold(run)

    def loop(
        training: Training, state: LoopState, *, after_update: AfterUpdate, after_step: AfterStep
    ) -> LoopState:
        prompts = PromptStream(examples, config.rollout.num_prompts, config.seed)
        steering = training_reward(run, reward.function, examples)
        logged_reward = log_reward(steering, reward.store, training.log, run.say)
        task = Task(prompts, prompt, logged_reward, reference, sampling_of(config, prompt))
        with_floor = replace(config, advantage=replace(config.advantage, std_floor=reward.std_floor))
        return train_grpo(with_floor, training, task, state, after_update=after_update, after_step=after_step)

    def check() -> None:
        run.say(reward.store.summary())
        if parameter_hash(reference) != reference_hash:
            raise RuntimeError(
                "the reference policy changed during training; its KL term meant nothing - please report this"
            )

    return Method(
        loop=loop,
        num_updates=config.train.num_steps * config.updates_per_step,
        shown=SHOWN,
        score=dev_score(run, policy, prompt, reward.function),
        check=check,
    )


def reference_of(run: Run, policy: PreTrainedModel) -> PreTrainedModel:
    """The warm start, frozen: copied from `policy` in memory, or read again where each process holds a share, which
    cannot be copied.
    """
    if is_sharded(policy):
        return frozen_model(run, run.warm_start)
    return frozen_copy(policy, on_host=run.config.engine.frozen == "host")
