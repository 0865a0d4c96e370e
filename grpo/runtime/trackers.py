"""Sends the numbers of `metrics.jsonl` to other tools too: TensorBoard, Weights & Biases, MLflow, trackio (log.to).

A tracker gets each number as "stage/name" with its step, and the name of the run folder; it is told nothing else.
Its own environment variables say where it keeps or sends them, and who the user is. The run folder only
remembers the number of the tool's run (`trackers.json`), so that a later stage or start goes on in it.
"""

import importlib.util
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError, one_line

PROJECT = "semantic-grpo"  # in which a tool gathers runs, unless its own variable names another
FILE = "trackers.json"
# what a tool would report of itself
UNSENT = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
LEAVE = "leave it out of log.to"
REMEDIES = {
    "tensorboard": LEAVE,
    "wandb": f"set WANDB_MODE=offline, or {LEAVE}",
    "mlflow": f"look at MLFLOW_TRACKING_URI, or {LEAVE}",
    "trackio": LEAVE,
}
Say = Callable[[str], None]


class Tracker(NamedTuple):
    """One tool: what takes the values of a step, "stage/name" -> number, and what ends it. `id` names its run for a later
    start; "" where the run folder itself is enough.
    """

    log: Callable[[Mapping[str, float], int], None]
    close: Callable[[], None]
    id: str = ""


def tensorboard(run_dir: Path, _id: str, first_step: int) -> Tracker:
    """Events in the run folder, from `first_step` on."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=first_step)

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return Tracker(log, writer.close)


def wandb(run_dir: Path, id: str, _first_step: int) -> Tracker:
    """Offline with WANDB_MODE=offline. A tool's own step only rises, so "step" is a number among the others."""
    import wandb

    unread = ("disable_git", "disable_code", "x_disable_meta", "x_disable_stats")
    settings = wandb.Settings(console="off", x_save_requirements=False, **dict.fromkeys(unread, True))
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = wandb.init(project=project, name=run_dir.name, id=id or None, resume="allow", settings=settings)
    run.define_metric("*", step_metric="step")
    return Tracker(lambda values, step: run.log({**values, "step": step}), run.finish, run.id)


def mlflow(run_dir: Path, id: str, _first_step: int) -> Tracker:
    """In a folder or on a server: MLFLOW_TRACKING_URI."""
    import mlflow

    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    run = mlflow.start_run(run_id=id) if id else mlflow.start_run(run_name=run_dir.name)
    log = mlflow.log_metrics
    return Tracker(lambda values, step: log(dict(values), step=step), mlflow.end_run, run.info.run_id)


def trackio(run_dir: Path, id: str, _first_step: int) -> Tracker:
    """On this machine, unless TRACKIO_SPACE_ID names a space. It knows a run by its name."""
    import trackio

    name = id or f"{run_dir.name}-{uuid.uuid4().hex[:8]}"
    unread = dict.fromkeys(("embed", "auto_log_cpu", "auto_log_gpu"), False)
    run = trackio.init(project=PROJECT, name=name, resume="allow", **unread)
    return Tracker(lambda values, step: run.log(dict(values), step=step), trackio.finish, name)


TOOLS: dict[str, Callable[[Path, str, int], Tracker]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}


def check_installed(names: Sequence[str]) -> None:
    """Raises InputError for a tool whose package is missing. TensorBoard is optional: it is the default."""
    for name in names:
        spec = importlib.util.find_spec(name) if name != "tensorboard" else None
        # a folder ./wandb, as the tool itself makes it, is found too, but it has no file of its own
        if name != "tensorboard" and (spec is None or spec.origin is None):
            raise InputError(f"log.to: {name} is not installed; type pip install {name}, or {LEAVE}")


class Trackers:
    """All tools of a stage. One that fails is left out with a warning, and the run goes on."""

    def __init__(self, names: Sequence[str], run_dir: Path, first_step: int, say: Say) -> None:
        """Raises InputError for a tool that cannot begin."""
        self._say = say
        self._tools: dict[str, Tracker] = {}
        path = run_dir / FILE
        facts: dict[str, Any] = read_object(path) if path.exists() else {}
        for name, value in UNSENT.items():
            os.environ.setdefault(name, value)
        for name in names:
            try:
                self._tools[name] = TOOLS[name](run_dir, str(facts.get(name, "")), first_step)
            except Exception as error:
                if name == "tensorboard" and isinstance(error, ImportError):
                    say(
                        f"log.to: {name} is not installed; type pip install {name} for its curves, or {LEAVE}"
                    )
                    continue
                self.close()
                cause = one_line(error).rstrip(".")
                anew = f", or delete {path} to begin a new run of the tool" if name in facts else ""
                raise InputError(f"log.to: {name} cannot begin: {cause}; {REMEDIES[name]}{anew}") from error
        now = facts | {name: tool.id for name, tool in self._tools.items() if tool.id}
        if now != facts:
            atomic_write_text(path, json.dumps(now, indent=1))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Give every tool the values of a step."""
        rows = {f"{stage}/{name}": value for name, value in values.items()}
        self._each(lambda tool: tool.log(rows, step))

    def close(self) -> None:
        self._each(lambda tool: tool.close())
        self._tools = {}

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tool in [*self._tools.items()]:
            try:
                call(tool)
            except Exception as error:
                del self._tools[name]
                self._say(f"WARNING: log.to: {name} failed and gets no more numbers: {one_line(error)}")
