"""The stages of a run - data, model, sft, grpo, eval, report - each finished work that the next session
skips.

A stage is done when its last output exists; outputs appear whole or not at all.
"""

from dataclasses import replace

from data.errors import InputError
from data.stream import PromptStream
from data.template import encode_completion, encode_prompt
from grpo.engine.model import frozen_copy, load_tokenizer, parameter_hash
from grpo.loop import train_grpo
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint
from grpo.runtime.parallel import FailedElsewhere
from grpo.runtime.run_log import RunLog
from grpo.samples import sampling_of
from grpo.sft import SHOWN_SFT, Pair, train_sft
from grpo.stages.anchor_setup import anchored
from grpo.stages.context import Run, corpus_of, start_folder, trainable, within_limit
from grpo.stages.encoder_fit import check_measured_threshold
from grpo.stages.hooks import UpdateHook, dev_score, export_best, finish, resume
from grpo.stages.imitation import best_of_group, strong_sft
from grpo.stages.lengths import fit, pair_limits
from grpo.stages.pass_size import tokens_per_pass
from grpo.stages.prepare import require_warm_start
from grpo.stages.reward_setup import logged, rewarded, steered
from grpo.stages.snapshots import Snapshots
from grpo.stages.tax_guard import guarded
from grpo.training import Task, Training
from reward.faults import RewardFailure

SHOWN_GRPO = {"reward_mean": "reward", "kl_mean": "KL", "length_mean": "length", "ratio_gap_max": "gap", "ratio_gap_mean": "mean gap",
              "tokens_per_second": "tok/s"}  # fmt: skip


def sft_stage(run: Run) -> None:
    """The warm start: base model -> run/warm_start."""
    if run.warm_start.exists():
        checkpoint.clear(run.checkpoints("sft"))  # where a kill came between finishing and this
        return
    config = run.config.sft
    folder = start_folder(run)
    tokenizer = load_tokenizer(folder)
    policy = trainable(run, folder)
    if config.num_steps == 0:
        run.say("no warm start: sft.num_steps = 0, so training begins from the untouched model")
        if unused := len(corpus_of(run).warm_start):
            run.say(
                f"{unused:,} pairs of the part warm_start stay unused; data.warm_start_share=0 would give them to training"
            )
        finish(run, "sft", LoopState(), 0, policy, tokenizer, run.warm_start)
        return
    available = corpus_of(run).warm_start
    found = fit("warm_start", available, tokenizer, pair_limits(run.config))
    examples = found.check().examples
    pairs: list[Pair] = [
        (encode_prompt(tokenizer, example), encode_completion(tokenizer, example.reference))
        for example in examples
    ]
    run.say(f"warm start on {len(pairs):,} pairs ({len(available) - len(pairs):,} are over a length limit)")
    if 0 < config.max_pairs < len(pairs):
        pairs = pairs[: config.max_pairs]
        run.say(f"only the first {len(pairs):,} of them are used: sft.max_pairs")
    config = replace(config, max_tokens_per_pass=tokens_per_pass(run, "sft", policy))
    optimizer = Optimizer(policy, config.optim, config.num_steps)
    state = resume(run, "sft", policy, optimizer)
    stream = PromptStream(pairs, config.batch_size, run.config.seed)
    with RunLog(run.log_folder, "sft", state.step, config.num_steps, SHOWN_SFT, quiet=run.is_silent) as log:
        anchor = anchored(run, tokenizer, run.config.anchor.sft, config.max_tokens_per_pass)
        training = Training(policy, optimizer, log, run.compute, anchor, run.world)
        hook = UpdateHook(run, "sft", policy, optimizer, config.num_steps, log, state)
        state = train_sft(config, training, stream, state, after_update=hook)
    finish(run, "sft", state, config.num_steps, policy, tokenizer, run.warm_start)


def grpo_stage(run: Run) -> None:
    """From run/warm_start to run/policy, by train.method."""
    if run.policy.exists():
        checkpoint.clear(run.checkpoints("grpo"))
        return
    require_warm_start(run)
    METHODS[run.config.train.method](run)


def reinforce(run: Run) -> None:
    """GRPO: run/warm_start -> run/policy, with the warm start's weights, frozen in memory, as the reference
    policy.
    """
    config = run.config
    tokenizer = load_tokenizer(run.warm_start)
    policy = trainable(run, run.warm_start)
    reference = frozen_copy(policy)
    reference_hash = parameter_hash(reference)
    available = corpus_of(run).train
    examples = within_limit(available, tokenizer, config.model.max_prompt_tokens)
    run.say(
        f"GRPO on {len(examples):,} prompts ({len(available) - len(examples):,} are over the length limit)"
    )
    store, reward, std_floor = run.world.first_then_all(lambda: rewarded(run, policy, tokenizer, examples))
    check_measured_threshold(run)
    train = replace(config.train, max_tokens_per_pass=tokens_per_pass(run, "train", policy))
    config = replace(config, train=train, advantage=replace(config.advantage, std_floor=std_floor))
    optimizer = Optimizer(policy, config.train.optim, config.train.num_steps * config.updates_per_step)
    state = resume(run, "grpo", policy, optimizer)
    prompts = PromptStream(examples, config.rollout.num_prompts, config.seed)
    with RunLog(
        run.log_folder, "grpo", state.step, config.train.num_steps, SHOWN_GRPO, quiet=run.is_silent
    ) as log:
        guard, state = guarded(run, "grpo", policy, tokenizer, optimizer, config.train.num_steps, log, state)
        score = dev_score(run, policy, tokenizer, reward)
        snapshots = Snapshots(run, policy, tokenizer, log)
        hook = UpdateHook(
            run, "grpo", policy, optimizer, config.train.num_steps, log, state, score, snapshots
        )
        anchor = anchored(run, tokenizer, config.anchor.train, config.train.max_tokens_per_pass)
        training = Training(policy, optimizer, log, run.compute, anchor, run.world)
        task = Task(
            prompts,
            tokenizer,
            logged(steered(run, reward, examples), store, log, run.say),
            reference,
            sampling_of(config, tokenizer),
        )
        try:
            state = train_grpo(config, training, task, state, after_update=hook, after_step=guard)
        except (
            RewardFailure,
            FailedElsewhere,
        ) as failure:  # before the step's first update: the model still is in the last state
            hook.save()
            raise InputError(f"{failure}; everything up to step {hook.state.step} is saved") from failure
    run.say(store.summary())
    if parameter_hash(reference) != reference_hash:
        raise RuntimeError(
            "the reference policy changed during training; its KL term meant nothing - please report this"
        )
    export_best(hook, reference, tokenizer, run.best_policy)
    finish(run, "grpo", state, config.train.num_steps, policy, tokenizer, run.policy)


METHODS = {"grpo": reinforce, "sft": strong_sft, "best_of_group": best_of_group}  # train.method
