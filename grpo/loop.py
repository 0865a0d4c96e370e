"""The GRPO loop (arXiv 2402.03300; rewards of arXiv 2605.14366): the order of a step's parts, and nothing of
what is inside them.

P prompts a step, G completions each, N = P * G rows, T completion tokens.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from grpo.config import Config
from grpo.engine.logprob import completion_logps
from grpo.engine.padding import cause_of_padding
from grpo.guide import Guidance, guidance, reference_loss
from grpo.kl import next_kl_coef
from grpo.loss import Bounds, grpo_loss, sampler_weights
from grpo.minibatch import Minibatch, minibatches_of, score, update_windows
from grpo.optim import with_last
from grpo.records import Experience, LoopState, Rollout
from grpo.redraw import batch_at, redraw
from grpo.runtime.parallel import balanced_shares
from grpo.samples import reference_ids, reward_groups, roll_out
from grpo.step_metrics import (
    effective_share,
    maxima,
    micro_batch_peaks,
    micro_batch_sums,
    refuse_gap,
    rollout_metrics,
    rollout_samples,
    totals,
    trainer_logps,
)
from grpo.training import Task, Training


def train_grpo(config: Config, training: Training, task: Task, state: LoopState) -> LoopState:
    """Run GRPO from `state` to `config.train.num_steps`, and return the state to go on from."""
    log = training.log
    while state.step < config.train.num_steps:
        step = state.step
        kl_coef = config.loss.kl_coef if state.kl_coef is None else state.kl_coef
        if state.update:  # the step was left between two of its updates
            experience = restore_experience(config, training, task, state)
        else:
            experience = collect(config, training, task, task.prompts.at(step), step)
        batch = batch_at(task.prompts, step, experience.tries)  # P examples: a pure function of (seed, step)
        guide = guide_of(config, task, batch, experience, step)  # advantages (P, G)
        minibatches = minibatches_of(config, experience, guide.advantages, step, guide)
        for number, minibatch in enumerate(minibatches, start=1):
            if number <= state.update:
                continue
            with log.phase("update"):
                accumulate(config, training, minibatch, kl_coef)
                log.put(training.optimizer.step())  # clip, step, schedule, zero
            if number < config.updates_per_step:
                state = LoopState(step, number, kl_coef, experience.tensors(), log.partial(), state.tax)
                if training.after_update(state):
                    return state

        log.put(rollout_metrics(experience, config.advantage.std_floor) | {"kl_coef": kl_coef})
        kl_coef = next_kl_coef(kl_coef, log.mean("kl_mean"), config.loss.kl_target)
        log.write(step, samples=rollout_samples(batch, experience, task.prompt))
        state = training.after_step(LoopState(step + 1, kl_coef=kl_coef, tax=state.tax))
        if training.after_update(state):
            break
    return state


def collect(
    config: Config, training: Training, task: Task, batch: Sequence[Example], step: int
) -> Experience:
    """Sample a group for each prompt, score it under the reference policy, and reward it; no gradient. Each
    process does its share, of about as many prompt tokens as every other, and all get the experience of all.
    """
    policy = training.policy
    log = training.log
    world = training.world
    prompt_ids = [task.prompt.encode_prompt(example) for example in batch]
    shares = balanced_shares([*map(len, prompt_ids)], world.size)
    own = shares[world.rank]
    whole = partial(world.gather_shares, shares=shares)
    with log.phase("rollout"):
        rollout = roll_out(task, policy, prompt_ids, own, (config.seed, step))
    tries = None
    if not config.rollout.redraws:
        # an accelerator only has to be told what to score, so it does in the reward's time
        full = rollout.map_tensors(whole, prompt_ids)
        logps = score_rollout(config, training, task, full, step)
    with log.phase("reward"):
        samples = reward_groups(config, task, rollout, [batch[i] for i in own], world)
    if config.rollout.redraws:
        samples, own_tries = redraw(config, training, task, samples, own, step)
        tries = whole(own_tries)
        final = batch_at(task.prompts, step, tries)
        full = samples.rollout.map_tensors(whole, [task.prompt.encode_prompt(example) for example in final])
        logps = score_rollout(config, training, task, full, step)
    terms = {name: whole(samples.terms[name]) for name in sorted(samples.terms)}  # files keep no order
    text_rewards = None if samples.text_rewards is None else whole(samples.text_rewards)
    return Experience(full, whole(samples.rewards), terms, *logps, text_rewards, tries)


def score_rollout(
    config: Config, training: Training, task: Task, rollout: Rollout, step: int
) -> tuple[Tensor, Tensor | None]:
    """(N, T) log-probabilities of the rollout of all processes under the reference policy, and under the policy where
    several updates follow.
    """
    logps_under = partial(
        score,
        rollout=rollout,
        temperature=config.rollout.temperature,
        max_tokens=config.train.max_tokens_per_pass,
        share_prefix=shares_prefix(config, training.policy),
        windows=update_windows(len(rollout.prompt_ids), config.train.prompts_per_update, (config.seed, step)),
        world=training.world,
    )
    with training.log.phase("score"):
        return logps_under(task.reference), logps_under(training.policy) if config.reuses_rollout else None


def restore_experience(config: Config, training: Training, task: Task, state: LoopState) -> Experience:
    """The experience of a step that was left between two of its updates; the log gets back what it had
    gathered of that step.
    """
    tensors = {name: values.to(training.policy.device) for name, values in state.tensors.items()}
    batch = batch_at(task.prompts, state.step, tensors.get("tries"))
    prompt_ids = [task.prompt.encode_prompt(example) for example in batch]
    training.log.go_on(state.partial)
    return Experience.of(tensors, prompt_ids, config.rollout.group_size)


def guide_of(
    config: Config, task: Task, batch: Sequence[Example], experience: Experience, step: int
) -> Guidance:
    """Advantages of the groups (grpo/advantage.py), and what their reference texts teach (grpo/guide.py). On the host,
    where rewards are made: those of a restored step are on the device, which may add in another order.
    """
    texts = reference_ids(config, task, batch) if config.guide.mode != "none" else []
    text_rewards = experience.text_rewards
    rewards = experience.rewards.cpu(), None if text_rewards is None else text_rewards.cpu()
    return guidance(config.guide, config.advantage, *rewards, step, config.train.num_steps, texts)


def shares_prefix(config: Config, policy: PreTrainedModel) -> bool:
    """Whether a group counts its prompt once: not where rows are padded, but for reference texts in a group."""
    is_padded = bool(cause_of_padding(policy)) and config.guide.mode == "none"
    return config.engine.share_prefix and not is_padded


def accumulate(config: Config, training: Training, minibatch: Minibatch, kl_coef: float) -> None:
    """Add the gradient of one update to the parameters: of each micro-batch, of the anchor, and of all other
    processes.
    """
    policy = training.policy
    log = training.log
    world = training.world
    bounds = Bounds(config.loss.clip_low, config.loss.clip_high, config.loss.dual_clip)
    sums = []
    peaks = []
    micros = minibatch.split(config.train.max_tokens_per_pass, shares_prefix(config, policy), world)
    for micro, is_last in with_last(micros):
        logps = completion_logps(policy, micro.packed, config.rollout.temperature)
        policy_logps, text_logps = micro.parts_of(logps)
        before = trainer_logps(policy_logps, micro)
        weights = sampler_weights(before, micro.sampling_logps, micro.mask, config.loss.sampler_cap)
        loss, stats = grpo_loss(
            policy_logps.logps,
            micro.old_logps,
            micro.ref_logps,
            micro.advantages,
            micro.mask,
            micro.weights * weights,
            objective=config.loss.objective,
            bounds=bounds,
            kl_coef=kl_coef,
            kl_estimator=config.loss.kl_estimator,
        )
        if micro.texts is not None and text_logps is not None:
            text_loss = reference_loss(config.guide, text_logps, micro.texts.mask, micro.texts.weights)
            loss = loss + text_loss
            stats["text_loss"] = text_loss.detach().double(), micro.texts.weights.sum()
        training.backward(loss, is_last)
        sums.append({**stats, **micro_batch_sums(policy_logps, micro)})
        peaks.append(micro_batch_peaks(policy_logps, micro))
    anchor_sums = training.complete_gradient()
    log.add(world.total({**totals(sums), **anchor_sums}))
    log.put_max(world.largest(maxima(peaks)))
    share = effective_share(log.mean("sampler_ratio_mean"), log.mean("sampler_ratio_square_mean"))
    log.put({"sampler_effective_share": share})
    refuse_gap(log.mean("ratio_gap_mean"), config.rollout.max_gap or training.compute.max_gap)
