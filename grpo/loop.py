"""The GRPO loop (arXiv 2402.03300; rewards of arXiv 2605.14366). It knows the order of things and nothing of their insides."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.template import decode_completion, encode_prompt, stop_ids
from grpo.advantage import group_advantages
from grpo.config import Config
from grpo.device import Compute
from grpo.logprob import completion_logps
from grpo.loss import grpo_loss
from grpo.metrics import RunLog
from grpo.minibatch import iter_minibatches, score
from grpo.observe import micro_batch_peaks, micro_batch_sums, rollout_metrics, rollout_samples
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.sampler import Sampling, generate

# (sources, completions, references of each, group_size), N rows -> rewards (P, G) and each term (P, G)
RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]], int], tuple[Tensor, dict[str, Tensor]]]


class PromptSource(Protocol):
    def at(self, step: int) -> Sequence[Example]: ...


def train_grpo(
    config: Config, policy: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    prompts: PromptSource, reward: RewardFunction, optimizer: Optimizer, log: RunLog, state: LoopState, compute: Compute,
    *, after_step: Callable[[LoopState], bool],
) -> LoopState:
    """Run GRPO from `state.step` to `config.train.num_steps` and return the state to go on from.

    P prompts a step, G completions each, N = P * G rows, T completion tokens.
    """
    train, loss, temperature = config.train, config.loss, config.rollout.temperature
    sampling = Sampling(config.rollout.group_size, config.rollout.max_new_tokens, temperature, stop_ids(tokenizer))
    scored = partial(score, temperature=temperature, max_tokens=train.max_tokens_per_pass, share_prefix=train.share_prefix)
    updates = partial(iter_minibatches, passes=train.passes, prompts_per_update=train.prompts_per_update, aggregation=loss.aggregation)
    objective = partial(grpo_loss, clip_low=loss.clip_low, clip_high=loss.clip_high, kl_coef=loss.kl_coef, kl_estimator=loss.kl_estimator)
    for step in range(state.step, train.num_steps):
        batch = prompts.at(step)                                # P examples: a pure function of (seed, step)
        prompt_ids = [encode_prompt(tokenizer, example) for example in batch]

        with log.phase("rollout"), compute.autocast():          # prefill each prompt once, decode its G completions
            rollout = generate(policy, prompt_ids, sampling, seed=(config.seed, step))
        with log.phase("reward"):                               # rewards (P, G); terms: name -> (P, G), for the log
            texts = [decode_completion(tokenizer, ids) for ids in rollout.completions()]
            repeated = [example for example in batch for _ in range(sampling.group_size)]
            rewards, terms = reward([e.source for e in repeated], texts, [e.references for e in repeated], sampling.group_size)
        with log.phase("score"), compute.autocast():            # (N, T) each, no gradient
            ref_logps = scored(reference, rollout)
            old_logps = scored(policy, rollout) if config.reuses_rollout else None

        with log.phase("update"):
            advantages = group_advantages(rewards, config.advantage.std_floor, config.advantage.scale)  # (P, G)
            for minibatch in updates(rollout, advantages, old_logps, ref_logps, seed=(config.seed, step)):
                for micro in minibatch.split(train.max_tokens_per_pass, train.share_prefix):
                    with compute.autocast():
                        policy_logps = completion_logps(policy, micro.packed, temperature)
                    value, stats = objective(
                        policy_logps.logps, micro.old_logps, micro.ref_logps, micro.advantages, micro.mask, micro.weights
                    )
                    value.backward()
                    log.add(stats | micro_batch_sums(policy_logps, micro))
                    log.put_max(micro_batch_peaks(policy_logps, micro))
                log.put(optimizer.step())                       # clip, step, schedule, zero

        state = replace(state, step=step + 1)
        log.put(rollout_metrics(rollout, rewards, terms, config.advantage.std_floor))
        log.write(step, samples=rollout_samples(batch, texts, rewards, terms))
        if after_step(state):                                   # save, evaluate, or asked to stop
            break
    return state
