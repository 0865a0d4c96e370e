"""Self-distillation (SDFT, arXiv 2601.19897) as a method of the stage `train`: the model learns to answer without a
demonstration as it answers with one.

Teacher and policy are the same model: the teacher reads a demonstration in front of the prompt, the policy the plain
prompt. The policy writes, and KL(policy || teacher) is lowered at every token that it writes (eq. 1 and 2; the analytic
estimator of appendix A.1, grpo/distillation.py).

A demonstration is one more example in the prompt, as `prompt.shots` writes it: the example itself with its reference
text, or the nearest pairs of the training part. The paper's sentence that asks for an own answer is for chat models.

The teacher's weights are those of the warm start, frozen. The paper's moving average of the policy does better there on
long training (appendix A.3), and would be a second state in every checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from eval.memory import build_memory
from grpo.distillation import SHOWN, Prompts, train_distillation
from grpo.samples import sampling_of
from grpo.stages.context import Run
from grpo.stages.imitation import score_of
from grpo.stages.method import Method
from grpo.stages.mixing import stream_of
from grpo.stages.reinforcement import frozen_warm_start
from grpo.training import PromptSource

Demonstrate = Callable[[Example], tuple[Example, ...]]


@dataclass(frozen=True)
class DemonstratedPrompts:
    """The prompts of each step, and the same with demonstrations for the teacher."""

    examples: PromptSource
    prompt: Prompt
    demonstrate: Demonstrate

    def at(self, step: int) -> list[Prompts]:
        return [
            (
                self.prompt.encode_prompt(example),
                self.prompt.with_shots(self.demonstrate(example)).encode_prompt(example),
            )
            for example in self.examples.at(step)
        ]


def self_distillation_method(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]
) -> Method:
    """Distillation from the warm start, `policy` as it is now, with demonstrations in its prompt."""
    config = run.config
    count = config.train.nearest_pairs
    guidance = f"the {count} nearest pairs" if count else "the reference text"
    run.say(f"self-distillation on {len(examples):,} prompts: the teacher also reads {guidance}")
    demonstrate = nearest_pairs(examples, count, run.folder) if count else lambda example: (example,)
    stream = stream_of(run, examples, examples, config.rollout.num_prompts)
    prompts = DemonstratedPrompts(stream, prompt, demonstrate)
    teacher, sampling = frozen_warm_start(run, policy), sampling_of(config, prompt)
    return Method(
        lambda training, state: train_distillation(config, training, prompts, teacher, sampling, state),
        config.train.num_steps,
        SHOWN,
        score_of(run, policy, prompt, examples),
    )


def nearest_pairs(examples: Sequence[Example], count: int, folder: Path | None = None) -> Demonstrate:
    """Gives the `count` examples of the same direction with the most similar sources, the nearest one last, next to the
    question; none has the source that is asked for. Similarity: that of the translation memory (eval/memory.py).
    """
    memory = build_memory(examples, folder)

    def nearest(example: Example) -> tuple[Example, ...]:
        order = np.argsort(-memory.cosines(example.source), kind="stable")
        candidates = (examples[int(place)] for place in order)
        others = (
            one for one in candidates if direction(one) == direction(example) and one.source != example.source
        )
        return tuple(one for _, one in zip(range(count), others, strict=False))[::-1]

    return nearest


def direction(example: Example) -> tuple[str, str]:
    """From which language into which one."""
    return example.source_language, example.target_language
