"""The stage `train`: run/warm_start -> run/policy, by train.method.

Every method goes the same way: resume, train with the hooks, check, save the best checkpoint and the policy.
The stage is done when run/policy exists.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from transformers import PreTrainedModel

from data.errors import InputError, Interrupted
from data.examples import Example
from data.prompt import Prompt
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint
from grpo.runtime.parallel import FailedElsewhere
from grpo.stages.context import Run, corpus_of, load_prompt, trainable, within_limit
from grpo.stages.finished import check_finished
from grpo.stages.forgetting_setup import make_protection, make_training
from grpo.stages.hooks import Stage, UpdateHook, check_end, export_best, finish, open_log, resume
from grpo.stages.imitation import best_of_group_method, sft_method
from grpo.stages.method import Method
from grpo.stages.pass_size import with_pass_size
from grpo.stages.prepare import require_warm_start
from grpo.stages.recovery import recovery_method
from grpo.stages.reinforcement import grpo_method
from grpo.stages.self_distillation import self_distillation_method
from grpo.stages.smaller_passes import state_in_a_checkpoint
from grpo.stages.snapshots import Snapshots
from grpo.stages.tax_guard import make_tax_guard
from grpo.stages.token_limits import with_limits
from grpo.training import AfterStep, same_state
from reward.faults import RewardFailure

STAGE: Final = "train"
MakeMethod = Callable[[Run, PreTrainedModel, Prompt, Sequence[Example]], Method]
METHODS: dict[str, MakeMethod] = {  # train.method
    "grpo": grpo_method,
    "sft": sft_method,
    "best_of_group": best_of_group_method,
    "recovery": recovery_method,
    "self_distillation": self_distillation_method,
}


def train_stage(run: Run) -> None:
    """From run/warm_start to run/policy, by train.method."""
    if run.world.any(run.policy.exists()):
        checkpoint.clear(run.checkpoints(STAGE))  # a kill may have come between the export and this
        before = run.warm_start if run.warm_start.exists() else None
        for folder in (run.policy, run.best_policy):
            if folder.exists():
                check_finished(run, folder, before)
        return
    require_warm_start(run)
    run = run.world.first_then_all(lambda: with_limits(run))
    prompt = load_prompt(run, run.warm_start)
    policy = trainable(run, run.warm_start)
    run = with_pass_size(run, "train", policy)
    prompts = within_limit(corpus_of(run).train, prompt, run.config.model.max_prompt_tokens)
    run.say("\n".join(prompt.lines(prompts[0])))
    method = METHODS[run.config.train.method](run, policy, prompt, prompts)
    hook, state = train(run, STAGE, method, policy, prompt)
    method.check()
    check_end(run, state, run.config.train.num_steps)
    export_best(hook, prompt, run.best_policy)
    finish(run, STAGE, policy, prompt, run.policy)


def train(
    run: Run, stage: Stage, method: Method, policy: PreTrainedModel, prompt: Prompt
) -> tuple[UpdateHook, LoopState]:
    """Train `policy` in a stage, from its newest checkpoint on; the hook that looked on, and the state at the end. The
    warm start has no reward that may fail, no snapshots and no tax guard.
    """
    config = getattr(run.config, stage)
    tokenizer = prompt.tokenizer
    protection = make_protection(run, stage, policy, tokenizer)
    optimizer = Optimizer(policy, config.optim, method.num_updates, run.config.engine, protection)
    state = resume(run, stage, policy, optimizer)
    with open_log(run, stage, state, config.num_steps, method.shown) as log, ExitStack() as saving:
        hook = UpdateHook(run, stage, policy, optimizer, config.num_steps, log, state, method.score)
        guard: AfterStep = same_state
        if stage == STAGE:
            hook.snapshots = Snapshots(run, policy, prompt, log, method.samples)
            hook.notes = {"cut": f"; a completion ends with {prompt.stops_in_words}"}
            guard, hook.state = make_tax_guard(hook, tokenizer)
        training = make_training(hook, tokenizer, guard)
        if stage == STAGE:
            saving.enter_context(checkpoint_on_failure(hook))
        with state_in_a_checkpoint(hook):
            state = method.loop(training, hook.state)
    return hook, state


@contextmanager
def checkpoint_on_failure(hook: UpdateHook) -> Iterator[None]:
    """Save the hook's state where the reward fails, here or in another process, and say so in an InputError; and where
    the user stops the run while it samples.

    A reward is asked for between two updates only, so the model still is in that state.
    """
    try:
        yield
    except Interrupted:
        hook.save()
        raise
    except (RewardFailure, FailedElsewhere) as failure:
        hook.save()
        raise InputError(f"{failure}; everything up to step {hook.state.step} is saved") from failure
