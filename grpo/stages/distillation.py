"""What the methods that distil have in common (grpo/distillation.py)."""

from collections.abc import Callable

from transformers import PreTrainedModel

from grpo.distillation import SHOWN, PromptsStream, train_distillation
from grpo.engine.sampler import Sampling
from grpo.records import LoopState
from grpo.stages.context import Run
from grpo.stages.hooks import Scores
from grpo.stages.method import Method
from grpo.training import AfterStep, AfterUpdate, Training


def distillation(
    run: Run,
    prompts: PromptsStream,
    teacher: PreTrainedModel,
    sampling: Sampling,
    score: Callable[[], Scores] | None,
) -> Method:
    """On-policy distillation of `teacher` on `prompts`, one update a step."""
    config = run.config

    def loop(
        training: Training, state: LoopState, *, after_update: AfterUpdate, after_step: AfterStep
    ) -> LoopState:
        return train_distillation(
            config,
            training,
            prompts,
            teacher,
            sampling,
            state,
            after_update=after_update,
            after_step=after_step,
        )

    return Method(loop, config.train.num_steps, SHOWN, score)
