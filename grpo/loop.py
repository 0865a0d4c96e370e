"""The GRPO loop (arXiv 2402.03300; rewards of arXiv 2605.14366). It knows the order of things and nothing of
their insides.

P prompts a step, G completions each, N = P * G rows, T completion tokens.
"""

from collections.abc import Sequence
from functools import partial

from data.examples import Example
from data.template import decode_completion, encode_prompt
from grpo.advantage import group_advantages
from grpo.config import Config
from grpo.engine.logprob import completion_logps
from grpo.engine.sampler import Sampling, generate
from grpo.kl import next_kl_coef
from grpo.loss import OBJECTIVES, Bounds, grpo_loss
from grpo.minibatch import Minibatch, iter_minibatches, score, update_windows
from grpo.records import Experience, LoopState
from grpo.step_metrics import (
    added,
    largest,
    micro_batch_peaks,
    micro_batch_sums,
    refuse_gap,
    rollout_metrics,
    rollout_samples,
)
from grpo.training import AfterStep, AfterUpdate, Task, Training, no_change


def train_grpo(
    config: Config,
    training: Training,
    task: Task,
    state: LoopState,
    *,
    after_update: AfterUpdate,
    after_step: AfterStep = no_change,
) -> LoopState:
    """Run GRPO from `state` to `config.train.num_steps`, and return the state to go on from.

    `after_update` is called after every update: it saves, evaluates, and ends the loop by True. `after_step`
    gets the state to go on from and may give back another one (grpo/stages/tax_guard.py).
    """
    log = training.log
    optimizer = training.optimizer
    while state.step < config.train.num_steps:
        step = state.step
        kl_coef = config.loss.kl_coef if state.kl_coef is None else state.kl_coef
        batch = task.prompts.at(step)  # P examples: a pure function of (seed, step)
        # with `state.update` the step was left between two of its updates
        experience = (
            restored(config, training, task, batch, state)
            if state.update
            else collect(config, training, task, batch, step)
        )
        advantages = group_advantages(  # (P, G)
            experience.rewards, config.advantage.std_floor, config.advantage.baseline, config.advantage.scale
        )
        minibatches = iter_minibatches(
            experience,
            advantages,
            passes=config.train.passes,
            prompts_per_update=config.train.prompts_per_update,
            aggregation=OBJECTIVES[config.loss.objective].aggregation,
            seed=(config.seed, step),
        )
        for number, minibatch in enumerate(minibatches, start=1):
            if number <= state.update:
                continue
            with log.phase("update"):
                accumulate(config, training, minibatch, kl_coef)
                log.put(optimizer.step())  # clip, step, schedule, zero
            if number < config.updates_per_step:
                state = LoopState(step, number, kl_coef, experience.tensors(), log.partial(), state.tax)
                if after_update(state):
                    return state

        log.put(rollout_metrics(experience, config.advantage.std_floor) | {"kl_coef": kl_coef})
        kl_coef = next_kl_coef(kl_coef, log.mean("kl_mean"), config.loss.kl_target)
        log.write(step, samples=rollout_samples(batch, experience, task.tokenizer))
        state = after_step(LoopState(step + 1, kl_coef=kl_coef, tax=state.tax))
        if after_update(state):
            break
    return state


def collect(
    config: Config, training: Training, task: Task, batch: Sequence[Example], step: int
) -> Experience:
    """Sample a group for each prompt, reward it, and score it under the reference policy; no gradient. Each
    process does its share.
    """
    policy = training.policy
    log = training.log
    compute = training.compute
    world = training.world
    group_size = config.rollout.group_size
    prompt_ids = [encode_prompt(task.tokenizer, example) for example in batch]
    share = world.share(len(batch))

    with log.phase("rollout"), compute.autocast():  # prefill each prompt once, decode its G completions
        sampling = Sampling(
            group_size,
            config.rollout.max_new_tokens,
            config.rollout.temperature,
            task.stop_ids,
            config.rollout.fast_decode,
        )
        rollout = generate(
            policy, prompt_ids[share], sampling, seed=(config.seed, step), first_row=share.start * group_size
        )
    with log.phase("reward"):  # rewards (P, G); terms: name -> (P, G), for the log
        completions = [decode_completion(task.tokenizer, ids) for ids in rollout.completions()]
        examples = [example for example in batch[share] for _ in range(group_size)]
        sources = [example.source for example in examples]
        references = [example.references for example in examples]
        rewards, terms = world.together(lambda: task.reward(sources, completions, references, group_size))
    with log.phase("score"), compute.autocast():  # (N, T) each
        windows = update_windows(
            len(rollout.prompt_ids), config.train.prompts_per_update // world.size, (config.seed, step)
        )
        logps_under = partial(
            score,
            temperature=config.rollout.temperature,
            max_tokens=config.train.max_tokens_per_pass,
            share_prefix=config.train.share_prefix,
            windows=windows,
        )
        ref_logps = logps_under(task.reference, rollout)
        old_logps = logps_under(policy, rollout) if config.reuses_rollout else None
    return Experience(rollout, rewards, terms, ref_logps, old_logps).map_tensors(world.gather, prompt_ids)


def restored(
    config: Config, training: Training, task: Task, batch: Sequence[Example], state: LoopState
) -> Experience:
    """The experience of a step that was left between two of its updates, and what the log had gathered of
    it.
    """
    prompt_ids = [encode_prompt(task.tokenizer, example) for example in batch]
    tensors = {name: values.to(training.policy.device) for name, values in state.tensors.items()}
    training.log.go_on(state.partial)
    return Experience.of(tensors, prompt_ids, config.rollout.group_size)


def accumulate(config: Config, training: Training, minibatch: Minibatch, kl_coef: float) -> None:
    """Add the gradient of one update to the parameters, a micro-batch at a time, then the anchor's, and over
    all processes.
    """
    policy = training.policy
    log = training.log
    world = training.world
    bounds = Bounds(config.loss.clip_low, config.loss.clip_high, config.loss.dual_clip)
    sums = []
    peaks = []
    for micro in minibatch.split(config.train.max_tokens_per_pass, config.train.share_prefix, world):
        with training.compute.autocast():
            policy_logps = completion_logps(policy, micro.packed, config.rollout.temperature)
        loss, stats = grpo_loss(
            policy_logps.logps,
            micro.old_logps,
            micro.ref_logps,
            micro.advantages,
            micro.mask,
            micro.weights,
            objective=config.loss.objective,
            bounds=bounds,
            kl_coef=kl_coef,
            kl_estimator=config.loss.kl_estimator,
        )
        loss.backward()
        sums.append(stats | micro_batch_sums(policy_logps, micro))
        peaks.append(micro_batch_peaks(policy_logps, micro))
    anchor_sums = training.anchor(policy, training.optimizer.update)
    world.sum_gradients(policy.parameters())
    log.add(world.total(added(sums) | anchor_sums))
    log.put_max(world.largest(largest(peaks)))
    refuse_gap(log.value("ratio_gap_max"), config.rollout.max_gap or training.compute.max_gap)
