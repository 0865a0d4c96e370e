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
from grpo.engine.sampler import generate
from grpo.guide import Guidance, guidance, reference_loss
from grpo.kl import next_kl_coef
from grpo.loss import Bounds, grpo_loss, sampler_weights
from grpo.minibatch import MicroBatch, Minibatch, minibatches_of, score, update_windows
from grpo.optim import with_last
from grpo.records import Experience, LoopState, Rollout
from grpo.redraw import batch_at, redraw
from grpo.runtime.parallel import Sums, balanced_shares
from grpo.samples import reference_ids, reward_groups
from grpo.step_metrics import UpdateMetrics, rollout_metrics, rollout_samples
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
        batch = batch_at(
            task.prompts, step, experience.tries
        )  # P examples: a function of (seed, step, tries)
        guide = guide_of(config, task, batch, experience, step)  # advantages (P, G), and who counts what
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
    """Sample a group for each prompt, or for others in its place (grpo/redraw.py), score it under the reference policy, and
    reward it; no gradient. Each process does its share, of about as many prompt tokens, and all get the experience of all.
    """
    log = training.log
    world = training.world
    prompt_ids = [task.prompt.encode_prompt(example) for example in batch]
    shares = balanced_shares([*map(len, prompt_ids)], world.size)
    own = shares[world.rank]
    gather = partial(world.gather_shares, shares=shares)
    with log.phase("rollout"):
        own_ids = [prompt_ids[i] for i in own]
        own_rollout = generate(training.policy, own_ids, task.sampling, (config.seed, step), own)
    tries = None
    if not config.rollout.redraws:
        # before the reward: an accelerator only has to be told what to score, and does it meanwhile
        rollout = own_rollout.map_tensors(gather, prompt_ids)
        ref_logps, old_logps = score_rollout(config, training, task, rollout, step)
    with log.phase("reward"):
        samples = reward_groups(config, task, own_rollout, [batch[i] for i in own], world)
    if config.rollout.redraws:
        # behind it: the reward says which groups are drawn again
        samples, own_tries = redraw(config, training, task, samples, own, step)
        tries = gather(own_tries)
        prompt_ids = [task.prompt.encode_prompt(example) for example in batch_at(task.prompts, step, tries)]
        rollout = samples.rollout.map_tensors(gather, prompt_ids)
        ref_logps, old_logps = score_rollout(config, training, task, rollout, step)
    return Experience(
        rollout,
        rewards=gather(samples.rewards),
        terms={name: gather(samples.terms[name]) for name in sorted(samples.terms)},  # files keep no order
        ref_logps=ref_logps,
        old_logps=old_logps,
        text_rewards=None if samples.text_rewards is None else gather(samples.text_rewards),
        tries=tries,
    )


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
    """Whether a prompt stands once in front of its group. Padded rows copy it for each completion anyway, so they are
    packed by completions; a reference text is always packed with its group.
    """
    is_padded = bool(cause_of_padding(policy)) and config.guide.mode == "none"
    return config.engine.share_prefix and not is_padded


def accumulate(config: Config, training: Training, minibatch: Minibatch, kl_coef: float) -> None:
    """Add the gradient of one update to the parameters: of each micro-batch, of the anchor, and of all other
    processes.
    """
    policy = training.policy
    metrics = UpdateMetrics()
    share_prefix = shares_prefix(config, policy)
    micros = minibatch.split(config.train.max_tokens_per_pass, share_prefix, training.world)
    for micro, is_last in with_last(micros):
        logps = completion_logps(policy, micro.packed, config.rollout.temperature)
        policy_logps, text_logps = micro.parts_of(logps)
        loss, stats = micro_batch_loss(config, micro, policy_logps.logps, text_logps, kl_coef)
        training.backward(loss, is_last)
        metrics.add(stats, policy_logps, micro)
    anchor_sums = training.complete_gradient()
    metrics.write(training, anchor_sums, config.rollout.max_gap)


def micro_batch_loss(
    config: Config, micro: MicroBatch, logps: Tensor, text_logps: Tensor | None, kl_coef: float
) -> tuple[Tensor, Sums]:
    """The loss of the completions with log-probabilities `logps` (N, T), with that of their reference texts where a guide
    gives them a part; and what the log has of it.
    """
    settings = config.loss
    from_sampler = sampler_weights(
        micro.trainer_logps(logps), micro.sampling_logps, micro.mask, settings.sampler_cap
    )
    loss, stats = grpo_loss(
        logps,
        micro.old_logps,
        micro.ref_logps,
        micro.advantages,
        micro.mask,
        micro.weights * from_sampler,
        objective=settings.objective,
        bounds=Bounds(settings.clip_low, settings.clip_high, settings.dual_clip),
        kl_coef=kl_coef,
        kl_estimator=settings.kl_estimator,
    )
    if micro.texts is None or text_logps is None:
        return loss, stats
    text_loss = reference_loss(config.guide, text_logps, micro.texts.mask, micro.texts.weights)
    text_stats = {"text_loss": (text_loss.detach().double(), micro.texts.weights.sum())}
    return loss + text_loss, stats | text_stats
