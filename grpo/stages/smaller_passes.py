"""A stage whose card runs out of memory goes on with smaller passes, once.

The stage begins again as after a stop: from the state of its last update, with new objects, so nothing of the failed
step is in gradients, optimiser or log. Smaller passes change the order of sums and nothing else. The settings that
were too large are in too_large.json; as long as the configuration has them, each start halves the passes.
"""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError
from grpo.config import Config, value_of, with_values
from grpo.runtime.device import release_memory
from grpo.runtime.within_memory import Result, half_sizes, within_memory
from grpo.stages.context import Run

if TYPE_CHECKING:
    from grpo.stages.hooks import UpdateHook

FILE = "too_large.json"  # stage -> the settings with which its card ran out of memory
SETTINGS = {  # stage -> what sizes its passes
    "sft": ("sft.max_tokens_per_pass",),
    "train": ("train.max_tokens_per_pass", "rollout.parts", "eval.batch_size"),
    "eval": ("eval.batch_size",),
}


def sizes_of(config: Config, stage: str) -> dict[str, int]:
    """The settings that size the passes of a stage."""
    return {name: value_of(config, name) for name in SETTINGS[stage]}


def in_words(sizes: dict[str, int]) -> str:
    """Settings as a command line has them."""
    return " ".join(f"{name}={size}" for name, size in sizes.items())


def are_too_large(run: Run, stage: str) -> bool:
    """Whether the card ran out of memory in `stage` with the settings of the configuration."""
    path = run.folder / FILE
    return path.exists() and read_object(path).get(stage) == sizes_of(run.config, stage)


def with_smaller_passes(run: Run, stage: str, sizes: dict[str, int]) -> Run:
    """The run with `sizes` for the passes of `stage`, halved and said where the card ran out of memory before."""
    if run.world.from_first(lambda: are_too_large(run, stage)):
        before = in_words(sizes)
        sizes = half_sizes(sizes)
        run.say(
            f"WARNING {stage}: the card had no memory for {before}, so this run goes on with {in_words(sizes)}; "
            "write these settings for the next run"
        )
    return replace(run, config=with_values(run.config, sizes))


def do_within_memory(run: Run, stage: str, work: Callable[[Run], Result]) -> Result:
    """The result of a stage. Where the card runs out of memory it is done again, with passes of half the size. Raises
    InputError where that has been done already; and where several processes train, since the others wait for this one:
    the next start has smaller passes.
    """
    if stage not in SETTINGS:
        return work(run)
    were_small: list[bool] = []

    def attempt() -> Result:
        were_small.append(are_too_large(run, stage))
        return work(run)

    return within_memory(attempt, lambda error: note(run, stage, error, were_small[-1]), run.compute)


def evaluate_within_memory(run: Run, work: Callable[[Run], Result]) -> Result:
    """The result of `work` with the batches of the evaluation, or with half of them where the card has no memory."""
    return do_within_memory(
        run, "eval", lambda run: work(with_smaller_passes(run, "eval", sizes_of(run.config, "eval")))
    )


def note(run: Run, stage: str, error: torch.OutOfMemoryError, were_small: bool) -> None:
    """Write down that the settings of a stage are too large. Raises InputError where the stage cannot go on, as where
    its passes `were_small` already.
    """
    path = run.folder / FILE
    sizes = sizes_of(run.config, stage)
    if were_small:
        raise InputError(
            f"{stage}: the card has no memory for passes of half the size either; write {in_words(half_sizes(half_sizes(sizes)))}, or "
            "save memory by engine.gradient_checkpointing=true (docs/memory.md), and run the same command, which goes on "
            "from what was last saved"
        ) from error
    found = read_object(path) if path.exists() else {}
    atomic_write_text(path, json.dumps({**found, stage: sizes}, indent=1))
    if run.world.size > 1:
        raise InputError(
            f"{stage}: the card of one process has no memory for {in_words(sizes)}; the same command goes on from the last "
            f"checkpoint with passes of half the size, as {path} now says"
        ) from error


@contextmanager
def state_in_a_checkpoint(hook: "UpdateHook") -> Iterator[None]:
    """Save the state of the last update where the card has no memory for the next one. A single process does; where
    several train, the others wait for this one.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)
        if hook.run.world.size == 1 and hook.is_repeatable:
            release_memory(hook.run.compute)
            hook.save()
        raise
