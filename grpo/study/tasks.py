"""A task that is not the study's own: its test items and encoders, and results of models on it.

All models are judged by one set of instruments, that of a run of the untouched model; the held-out scale of a run of
its own would be made of each start's weights.
"""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text, cache_dir
from data.documents import read_object
from data.errors import InputError, Interrupted
from eval.macro import macro_result
from grpo.config import Config
from grpo.engine.source import ModelSource
from grpo.runtime import device
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_folder import differences, plain
from grpo.stages.context import Run, load_model
from grpo.stages.evaluate import Measures, own_sets
from grpo.stages.smaller_passes import evaluate_within_memory
from grpo.stages.token_limits import with_limits

Say = Callable[[str], None]


def task_run(config: Config, folder: Path, say: Say) -> Run:
    """A run of the task, of which only corpus, test set and encoders are used."""
    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    return with_limits(Run(config, folder, cache_dir(), compute, StopRequest(), say))


def measures_of(run: Run) -> Measures:
    """The test items and the encoders that measure every result on a task."""
    return Measures(run, own_sets(run))


def has_result(path: Path, config: Config) -> bool:
    """Whether there is a result. Raises InputError for one that was made by another configuration."""
    if not path.exists():
        return False
    for change in differences(read_object(path).get("config", {}), plain(config)):
        raise InputError(
            f"{path}: was made with {change.key} = {change.old!r}, not {change.new!r}; remove it to have it made again"
        )
    return True


def outputs_of(measures: Measures, model: Path | ModelSource) -> dict[str, list[str]]:
    """The outputs of a model on each test set, with half of the batch where a card has no memory."""

    def outputs(run: Run) -> dict[str, list[str]]:
        loaded = load_model(run, model).requires_grad_(False)
        return replace(measures, run=run).outputs(loaded, model)

    return evaluate_within_memory(measures.run, outputs)


def measure_on_task(
    measures: Measures, model: Path | ModelSource, path: Path, about: dict[str, Any], config: Config
) -> None:
    """Write what a model can do on the task: `about`, "config" and "target". Raises Interrupted, with the result
    written, where the user asks to stop.
    """
    run = measures.run
    with StopRequest() as stop:
        run.say(f"evaluating {path.parent.name} {path.stem} on {measures.num_items} test items")
        outputs = outputs_of(measures, model)
        gc.collect()
        target = macro_result(measures.results(path.stem, outputs))
        result = {**about, "config": plain(config), "target": target}
        atomic_write_text(path, json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    if stop():
        raise Interrupted(stop.signal)
