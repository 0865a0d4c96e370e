"""A task that is not the study's own: its test items and encoders, and results of models on it.

All models are judged by one set of instruments, that of a run of the untouched model; the held-out scale of a run of
its own would be made of each start's weights.
"""

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text, cache_dir
from data.documents import read_object
from data.errors import InputError, Interrupted
from data.examples import Example
from grpo.config import Config
from grpo.engine.source import ModelSource
from grpo.runtime import device
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_folder import first_difference, plain
from grpo.stages.context import Run, load_model
from grpo.stages.evaluate import Scales, measure, outputs_of, test_examples
from grpo.stages.reward_setup import held_out_store, store_of
from grpo.stages.token_limits import with_limits

Say = Callable[[str], None]


@dataclass(frozen=True)
class TaskInstruments:
    """The test items and the encoders that measure every result on a task, loaded once."""

    run: Run
    examples: Sequence[Example]
    scales: Scales


def task_run(config: Config, folder: Path, say: Say) -> Run:
    """A run of the task, of which only corpus, test set and encoders are used."""
    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    return with_limits(Run(config, folder, cache_dir(), compute, StopRequest(), say))


def load_task(run: Run) -> TaskInstruments:
    return TaskInstruments(run, test_examples(run), (store_of(run), held_out_store(run)))


def has_result(path: Path, config: Config) -> bool:
    """Whether there is a result. Raises InputError for one that was made by another configuration."""
    if not path.exists():
        return False
    if difference := first_difference(read_object(path).get("config", {}), plain(config)):
        key, old, new = difference
        raise InputError(
            f"{path}: was made with {key} = {old!r}, not {new!r}; remove it to have it made again"
        )
    return True


def measure_on_task(
    tools: TaskInstruments, model: Path | ModelSource, path: Path, about: dict[str, Any], config: Config
) -> None:
    """Write what a model can do on the task: `about`, "config" and "target". Raises Interrupted, with the result
    written, where the user asks to stop.
    """
    run = tools.run
    with StopRequest() as stop:
        run.say(f"evaluating {path.parent.name} {path.stem} on {len(tools.examples)} test items")
        loaded = load_model(run, model).requires_grad_(False)
        outputs = outputs_of(run, loaded, model, tools.examples)
        target = measure(run, path.stem, tools.examples, outputs, tools.scales)
        result = {**about, "config": plain(config), "target": target}
        atomic_write_text(path, json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
        del loaded
        gc.collect()
    if stop():
        raise Interrupted(stop.signal)
