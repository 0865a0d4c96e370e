"""The GRPO loop (arXiv 2402.03300; rewards of arXiv 2605.14366). It knows the order of things and nothing of their insides.

P prompts a step, G completions each, N = P * G rows, T completion tokens.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.template import decode_completion, encode_prompt, stop_ids
from grpo.advantage import group_advantages
from grpo.anchor import AnchorFunction, Sums, unanchored
from grpo.config import Config
from grpo.engine.logprob import completion_logps
from grpo.engine.sampler import Sampling, generate
from grpo.kl import next_kl_coef
from grpo.loss import OBJECTIVES, Bounds, grpo_loss
from grpo.minibatch import Minibatch, iter_minibatches, score, update_windows
from grpo.optim import Optimizer
from grpo.records import Experience, LoopState, unchanged
from grpo.runtime.device import Compute
from grpo.runtime.parallel import ALONE, World
from grpo.runtime.run_log import RunLog
from grpo.step_metrics import added, largest, micro_batch_peaks, micro_batch_sums, refuse_gap, rollout_metrics, rollout_samples

# (sources, completions, references of each, group_size), N rows -> rewards (P, G) and each term (P, G)
RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]], int], tuple[Tensor, dict[str, Tensor]]]


class PromptSource(Protocol):
    def at(self, step: int) -> Sequence[Example]: ...


def train_grpo(
    config: Config, policy: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    prompts: PromptSource, reward: RewardFunction, optimizer: Optimizer, log: RunLog, state: LoopState, compute: Compute,
    *, between: Callable[[LoopState], bool], control: Callable[[LoopState], LoopState] = unchanged,
    anchor: AnchorFunction = unanchored, world: World = ALONE,
) -> LoopState:
    """Run GRPO from `state` to `config.train.num_steps`, and return the state to go on from.

    `control` is called after every step with the state to go on from and may give back another (grpo/stages/tax_guard.py); `between`
    after every update: it saves, evaluates, and ends the loop by True. `anchor` adds a gradient of its own to each update (grpo/anchor.py).
    """
    train, advantage = config.train, config.advantage
    while state.step < train.num_steps:
        step, kl_coef = state.step, config.loss.kl_coef if state.kl_coef is None else state.kl_coef
        batch = prompts.at(step)                                # P examples: a pure function of (seed, step)
        if state.update == 0:
            experience = collect(config, policy, reference, tokenizer, batch, reward, log, compute, world, step)
        else:                                                   # resumed between two updates of this step
            prompt_ids = [encode_prompt(tokenizer, example) for example in batch]
            device = policy.device
            experience = Experience.of({k: v.to(device) for k, v in state.tensors.items()}, prompt_ids, config.rollout.group_size)
            log.go_on(state.partial)

        advantages = group_advantages(experience.rewards, advantage.std_floor, advantage.baseline, advantage.scale)  # (P, G)
        minibatches = iter_minibatches(
            experience, advantages, passes=train.passes, prompts_per_update=train.prompts_per_update,
            aggregation=OBJECTIVES[config.loss.objective].aggregation, seed=(config.seed, step),
        )
        for number, minibatch in enumerate(minibatches, start=1):
            if number <= state.update:
                continue
            with log.phase("update"):
                accumulate(config, policy, minibatch, kl_coef, log, compute, world, partial(anchor, policy, optimizer.update))
                log.put(optimizer.step())                       # clip, step, schedule, zero
            if number < config.updates_per_step:
                state = LoopState(step, number, kl_coef, experience.tensors(), log.partial(), state.tax)
                if between(state):
                    return state

        log.put(rollout_metrics(experience, advantage.std_floor) | {"kl_coef": kl_coef})
        kl_coef = next_kl_coef(kl_coef, log.mean("kl_mean"), config.loss.kl_target)
        log.write(step, samples=rollout_samples(batch, experience, tokenizer))
        state = control(LoopState(step + 1, kl_coef=kl_coef, tax=state.tax))
        if between(state):
            break
    return state


def collect(
    config: Config, policy: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Example], reward: RewardFunction, log: RunLog, compute: Compute, world: World, step: int,
) -> Experience:
    """Sample a group for each prompt, reward it, and score it under the reference policy; no gradient. Each process does its share."""
    rollout, train = config.rollout, config.train
    mine, size = world.share(len(batch)), rollout.group_size
    sampling = Sampling(size, rollout.max_new_tokens, rollout.temperature, stop_ids(tokenizer), rollout.fast_decode)
    prompt_ids = [encode_prompt(tokenizer, example) for example in batch]

    with log.phase("rollout"), compute.autocast():              # prefill each prompt once, decode its G completions
        drawn = generate(policy, prompt_ids[mine], sampling, seed=(config.seed, step), first_row=mine.start * size)
    with log.phase("reward"):                                   # rewards (P, G); terms: name -> (P, G), for the log
        texts = [decode_completion(tokenizer, ids) for ids in drawn.completions()]
        repeated = [example for example in batch[mine] for _ in range(size)]
        asked = [e.source for e in repeated], texts, [e.references for e in repeated], size
        rewards, terms = world.together(lambda: reward(*asked))
    with log.phase("score"), compute.autocast():                # (N, T) each
        windows = update_windows(len(drawn.prompt_ids), train.prompts_per_update // world.size, (config.seed, step))
        scored = partial(
            score, temperature=rollout.temperature, max_tokens=train.max_tokens_per_pass, share_prefix=train.share_prefix, windows=windows
        )
        ref_logps, old_logps = scored(reference, drawn), scored(policy, drawn) if config.reuses_rollout else None
    return Experience(drawn, rewards, terms, ref_logps, old_logps).mapped(world.gather, prompt_ids)


def accumulate(
    config: Config, policy: PreTrainedModel, minibatch: Minibatch, kl_coef: float, log: RunLog, compute: Compute, world: World,
    anchor: Callable[[], Sums] = dict,
) -> None:
    """Add the gradient of one update to the parameters, a micro-batch at a time, then the anchor's, and over all processes."""
    loss, train = config.loss, config.train
    sums, peaks = [], []
    for micro in minibatch.split(train.max_tokens_per_pass, train.share_prefix, world):
        with compute.autocast():
            policy_logps = completion_logps(policy, micro.packed, config.rollout.temperature)
        value, stats = grpo_loss(
            policy_logps.logps, micro.old_logps, micro.ref_logps, micro.advantages, micro.mask, micro.weights, objective=loss.objective,
            bounds=Bounds(loss.clip_low, loss.clip_high, loss.dual_clip), kl_coef=kl_coef, kl_estimator=loss.kl_estimator,
        )
        value.backward()
        sums.append(stats | micro_batch_sums(policy_logps, micro))
        peaks.append(micro_batch_peaks(policy_logps, micro))
    held = anchor()
    world.sum_gradients(policy.parameters())
    log.add(world.total(added(sums) | held))
    log.put_max(world.largest(largest(peaks)))
    refuse_gap(log.value("ratio_gap_max"), config.rollout.max_gap or compute.max_gap)
