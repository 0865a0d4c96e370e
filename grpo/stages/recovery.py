"""Recovery as a method of the stage `train`: on-policy distillation from the untouched model on general prompts.

The policy continues the beginnings of general texts, and KL(policy || untouched) is lowered at every token that it writes
(grpo/distillation.py). What training has changed where the task does not need it is undone; nothing pulls the policy back
on the task itself. It begins from a warm start or, as an arm of a study, from the last policy of another arm.
"""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from data.errors import InputError
from data.examples import Example
from data.prompt import Prompt
from data.stream import PromptStream
from eval.forgetting.probes import text_ids
from grpo.distillation import SHOWN, Prompts, train_distillation
from grpo.engine.draw import Sampling
from grpo.engine.likelihood import first_ids
from grpo.samples import sampling_of
from grpo.stages.anchor_setup import anchor_texts
from grpo.stages.context import Run, frozen_model, untouched_model
from grpo.stages.imitation import score_of
from grpo.stages.method import Method

BEGINNING = 16  # tokens of a text that the policy continues; of a short one the first half


def recovery_method(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]) -> Method:
    """Distillation from the untouched model on the beginnings of the texts that an anchor would have."""
    config = run.config
    start = first_ids(prompt.tokenizer)
    texts = [text_ids(prompt.tokenizer, text) for text in anchor_texts(run)]
    if not texts:
        raise InputError("train.method = recovery: anchor.sources has no general text; add news=1 to it")
    prompts = [(ids, ids) for ids in ([*start, *beginning(text)] for text in texts)]
    stream: PromptStream[Prompts] = PromptStream(prompts, config.rollout.num_prompts, config.seed)
    run.say(f"recovery: the untouched model as teacher on the beginnings of {len(prompts)} general texts")
    teacher = frozen_model(run, untouched_model(run))
    sampling = general_sampling(run, prompt)
    return Method(
        lambda training, state: train_distillation(config, training, stream, teacher, sampling, state),
        config.train.num_steps,
        SHOWN,
        score_of(run, policy, prompt, examples),
    )


def beginning(text: list[int]) -> list[int]:
    """The first tokens of a text.

    >>> beginning([5, 6, 7, 8, 9])
    [5, 6]
    """
    return text[: min(BEGINNING, len(text) // 2)]


def general_sampling(run: Run, prompt: Prompt) -> Sampling:
    """As the run samples, but a continuation ends with the end-of-text token alone: a general text has many lines."""
    own = sampling_of(run.config, prompt)
    end = int(prompt.tokenizer.eos_token_id)
    return replace(own, stop_ids=(end,))
