"""The stage `sft`, the warm start: untouched model -> run/warm_start. It is done when run/warm_start exists."""

from collections.abc import Sequence
from typing import Final

from data.console import number_of
from data.examples import Example
from data.prompt import Prompt
from data.records import Mapped
from grpo.runtime import checkpoint
from grpo.sft import SHOWN_SFT, train_sft
from grpo.stages.context import Run, corpus_of, load_prompt, trainable, untouched_model
from grpo.stages.finished import check_finished
from grpo.stages.hooks import check_end, finish
from grpo.stages.lengths import fit, pair_limits, warm_start_pairs
from grpo.stages.method import Method
from grpo.stages.mixing import stream_of
from grpo.stages.pass_size import with_pass_size
from grpo.stages.token_limits import with_limits
from grpo.stages.train import train

STAGE: Final = "sft"


def sft_stage(run: Run) -> None:
    """SFT of the untouched model; without a step the untouched model itself is the warm start."""
    if run.world.any(run.warm_start.exists()):
        checkpoint.clear(run.checkpoints(STAGE))  # a kill may have come between the export and this
        check_finished(run, run.warm_start)
        return
    run = run.world.first_then_all(lambda: with_limits(run))
    folder = untouched_model(run)
    prompt = load_prompt(run, folder)
    policy = trainable(run, folder)
    run = with_pass_size(run, "sft", policy)
    if run.config.sft.num_steps:
        _, state = train(run, STAGE, sft_on_pairs(run, prompt), policy, prompt)
        check_end(run, state, run.config.sft.num_steps)
    else:
        say_no_warm_start(run)
    finish(run, STAGE, policy, prompt, run.warm_start)


def say_no_warm_start(run: Run) -> None:
    run.say("no warm start: sft.num_steps = 0, so training begins from the untouched model")
    if num_pairs := len(corpus_of(run).warm_start):
        run.say(
            f"not used: {number_of(num_pairs, 'pair')} of the part warm_start; data.warm_start_share=0 gives them to training"
        )


def sft_on_pairs(run: Run, prompt: Prompt) -> Method:
    """SFT on the pairs of the warm start."""
    config = run.config.sft
    examples = examples_of(run, prompt)
    pairs = Mapped(examples, prompt.encode_pair)
    stream = stream_of(run, examples, pairs, config.batch_size, "sft.batch_size")
    return Method(
        lambda training, state: train_sft(config, training, stream, state), config.num_steps, SHOWN_SFT
    )


def examples_of(run: Run, prompt: Prompt) -> Sequence[Example]:
    """The pairs of the warm start within the length limits, no more than sft.max_pairs. Raises InputError where there
    is none.
    """
    available = warm_start_pairs(run.config, corpus_of(run))
    examples = fit("warm_start", available, prompt, pair_limits(run.config)).check().examples
    run.say(
        f"warm start on {number_of(len(examples), 'pair')} ({len(available) - len(examples):,} are over a length limit)"
    )
    run.say("\n".join(prompt.lines(examples[0])))
    most = run.config.sft.max_pairs
    if 0 < most < len(examples):
        examples = examples[:most]
        run.say(f"only the first {most:,} of them are used: sft.max_pairs")
    return examples
