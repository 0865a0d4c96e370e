"""What acts against forgetting in a stage besides its anchor, by the configuration: token loss, replay, protection."""

from collections.abc import Iterator

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.errors import InputError
from grpo.anchor import texts_behind
from grpo.engine.halves import ExactParameters
from grpo.engine.likelihood import BATCH_TOKENS, first_ids
from grpo.engine.packing import Packed, by_budget
from grpo.parameter_steps import Protection, no_protection
from grpo.pull import Pull, squared_gradients, unit_mean
from grpo.replay import Replay, TextReplay, no_replay
from grpo.shield import input_squares, make_shield
from grpo.stages.anchor_setup import anchor_ids, make_anchor
from grpo.stages.context import Run, frozen_model, untouched_model
from grpo.stages.hooks import Stage, UpdateHook
from grpo.token_loss import Asft, TokenLoss, dft, nll
from grpo.training import AfterStep, Training


def make_training(hook: UpdateHook, tokenizer: PreTrainedTokenizerBase, guard: AfterStep) -> Training:
    """What the loop of the hook's stage is given, with its anchor, token loss and replay."""
    run, stage = hook.run, hook.stage
    max_tokens = getattr(run.config, stage).max_tokens_per_pass
    anchor = make_anchor(run, tokenizer, getattr(run.config.anchor, stage), max_tokens)
    return Training(
        hook.model, hook.optimizer, hook.log, run.compute, anchor, run.world, make_token_loss(run, stage),
        make_replay(run, stage, tokenizer), hook, guard,
    )  # fmt: skip


def make_token_loss(run: Run, stage: Stage) -> TokenLoss:
    """The loss of SFT in a stage; of "asft" with the model at the start of the stage loaded."""
    config = run.config.token_loss
    name = getattr(config, stage)
    if name == "asft":
        start = untouched_model(run) if stage == "sft" else run.warm_start
        return Asft(frozen_model(run, start), config.kl_coef)
    return dft if name == "dft" else nll


def make_replay(run: Run, stage: Stage, tokenizer: PreTrainedTokenizerBase) -> Replay:
    """The general texts among the pairs of a stage."""
    share = getattr(run.config.replay, stage)
    if not share:
        return no_replay
    texts = anchor_ids(run, tokenizer)
    run.say(f"replay of {len(texts)} general texts: {share:.0%} of the tokens of an update")
    return TextReplay(texts, first_ids(tokenizer), share, run.config.seed)


def make_protection(
    run: Run, stage: Stage, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Protection:
    """What keeps `policy`, which is the model at the start of the stage, near what it is now. A resumed run loads
    this model first, so it comes to the same. Raises InputError for a model without a matrix to shield.
    """
    config = run.config.protection
    kind = getattr(config, stage)
    if kind == "none":
        return no_protection
    if kind == "shield":
        squares = all_processes(run, input_squares(policy, own_passes(run, policy, tokenizer, BATCH_TOKENS)))
        if not squares:
            model = policy.config.model_type
            raise InputError(
                f"protection.{stage} = 'shield': {model} has no linear layers inside its layers; write 'l2' or 'ewc'"
            )
        run.say(f"shield: half of the columns of {len(squares)} matrices stay as they are")
        return make_shield(policy, squares)
    fisher = {}
    if kind == "ewc":
        run.say("ewc: the Fisher information of general texts ...")
        texts = own_passes(run, policy, tokenizer, max_tokens=1)
        fisher = unit_mean(all_processes(run, squared_gradients(policy, texts)))
    exact = ExactParameters(policy)
    return Pull({name: exact[name].clone() for name in exact}, config.strength, fisher)


def own_passes(
    run: Run, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> Iterator[Packed]:
    """The general texts of this process, packed into rows of at most `max_tokens`; a longer text has its own."""
    start = first_ids(tokenizer)
    texts = run.world.part(anchor_ids(run, tokenizer, run.config.protection.texts))
    for numbers in by_budget([len(start) + len(text) for text in texts], max_tokens):
        yield texts_behind(start, [texts[i] for i in numbers], policy.device)


def all_processes(run: Run, sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up the sums of each process, in the same order everywhere, so that all have the same bits."""
    if run.world.size == 1:
        return sums
    return {name: run.world.gather(one[None]).sum(0) for name, one in sums.items()}
