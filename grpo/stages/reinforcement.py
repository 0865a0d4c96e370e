"""GRPO as a method of the stage `train`: the run's reward, its frozen reference policy, its loop."""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from eval.metrics.learned import rewarded_metrics
from eval.report.brackets import in_brackets
from grpo.engine.model import frozen_copy, parameter_hash
from grpo.engine.sharding import is_sharded
from grpo.loop import train_grpo
from grpo.records import LoopState
from grpo.samples import sampling_of
from grpo.stages.context import Run, corpus_of, frozen_model, untouched_model
from grpo.stages.encoder_fit import check_measured_threshold
from grpo.stages.hooks import dev_score
from grpo.stages.method import Method
from grpo.stages.mixing import runs_by_language, stream_of
from grpo.stages.reward_setup import functions_of, load_rewards, log_reward, training_rewards
from grpo.training import Task, Training, by_language
from reward.combine import RewardConfig

SHOWN = {
    "reward_mean": "reward",
    "kl_mean": "KL",
    "length_mean": "length",
    "ratio_gap_max": "gap",
    "ratio_gap_mean": "mean gap",
    "tokens_per_second": "tok/s",
}


def grpo_method(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]) -> Method:
    """GRPO on the prompts of `examples`. The reference is `policy` as it is now, the warm start, or the untouched model."""
    config = run.config
    is_warm_start = config.loss.kl_reference == "warm_start"
    reference = frozen_warm_start(run, policy) if is_warm_start else frozen_model(run, untouched_model(run))
    reference_hash = parameter_hash(reference)
    available = len(corpus_of(run).train)
    run.say(f"GRPO on {len(examples):,} prompts ({available - len(examples):,} are over the length limit)")
    rewards = load_rewards(run, policy, prompt, examples)
    for own_run in runs_by_language(run).values():
        check_measured_threshold(own_run)
    prompts = stream_of(run, examples, examples, config.rollout.num_prompts)
    floor = max(reward.std_floor for reward in rewards.values())

    def loop(training: Training, state: LoopState) -> LoopState:
        functions = {
            language: log_reward(
                one, rewards[language].store, training.log, run.say, config.reward.rare_terms
            )
            for language, one in training_rewards(run, rewards, examples).items()
        }
        task = Task(prompts, prompt, by_language(functions), reference, sampling_of(config, prompt))
        with_floor = replace(config, advantage=replace(config.advantage, std_floor=floor))
        return train_grpo(with_floor, training, task, state)

    def check() -> None:
        for reward in rewards.values():
            run.say(reward.store.summary())
        if parameter_hash(reference) != reference_hash:
            raise RuntimeError(
                "the reference policy changed during training; its KL term meant nothing - please report this"
            )

    return Method(
        loop=loop,
        num_updates=config.train.num_steps * config.updates_per_step,
        shown=SHOWN | metric_columns(config.reward),
        score=dev_score(run, policy, prompt, functions_of(rewards)),
        check=check,
    )


def metric_columns(reward: RewardConfig) -> dict[str, str]:
    """The columns of the learned metrics that are computed in training: in brackets what is rewarded."""
    rewarded = rewarded_metrics(reward.weights, reward.gates, reward.metrics)
    return {
        f"{name}_mean": in_brackets(name, name in rewarded) for name in reward.names if name in reward.metrics
    }


def frozen_warm_start(run: Run, policy: PreTrainedModel) -> PreTrainedModel:
    """The warm start, frozen: copied from `policy` in memory, or read again where each process holds a share, which
    cannot be copied.
    """
    if is_sharded(policy):
        return frozen_model(run, run.warm_start)
    return frozen_copy(policy, on_host=run.config.engine.frozen == "host")
