"""What a train.method gives the stage `train` (grpo/stages/train.py)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grpo.records import LoopState
from grpo.stages.best_samples import SampledStep
from grpo.stages.hooks import Scores
from grpo.training import Training


@dataclass(frozen=True)
class Method:
    """What the stage has to know of a training loop.

    loop         trains from a state to the last step of the configuration; the state at the end
    num_updates  updates of the whole loop, for the schedule of the learning rate
    shown        metric -> its label in lines and table
    score        the figures of the dev set; None where none are asked for
    samples      per step, what was sampled before the loop
    check        called after the loop; raises where training was not what it should be
    """

    loop: Callable[[Training, LoopState], LoopState]
    num_updates: int
    shown: Mapping[str, str]
    score: Callable[[], Scores] | None = None
    samples: Sequence[SampledStep] = ()
    check: Callable[[], None] = lambda: None
