"""The log of a run: (sum, count) accumulators, phase timers, JSON lines, the trackers of log.to, and the rows of
the live table.

What a metric means is written down in docs/metrics.md. A resumed run cuts the log back to the step it resumes
from, so the file reads as if there had been no interruption.
"""

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from data.cache import atomic_write_text, name_disk_errors
from data.console import say, silent
from data.documents import parse_log_row, read_bytes, with_nulls
from data.live_table import change_text, live_table
from grpo.runtime.time_left import seconds_left
from grpo.runtime.trackers import Trackers

PLAIN_EVERY = 10  # without a terminal: one line every so many steps
NOTED = 3  # values of a note that the table shows
ALSO_SHOWN = {"loss": "loss", "cosine_held_out_mean": "held-out"}  # in the table, where a stage has them


def cut_back(path: Path, stage: str, step: int) -> list[dict[str, Any]]:
    """Drop the lines of `stage` at or after `step`, and a last line that a crash left unfinished; the stage's
    remaining records.
    """
    if not path.exists():
        return []
    remaining = []
    records = []
    whole = read_bytes(path).split(b"\n")[:-1]  # what follows the last line's end was left unfinished
    for number, line in enumerate(whole, 1):
        record = parse_log_row(line, f"{path}:{number}")
        if record["stage"] not in (stage, f"{stage}_dev", f"{stage}_tax") or record["step"] < step:
            remaining.append(line)
            records += [record] if record["stage"] == stage else []
    atomic_write_text(path, "".join(f"{line.decode()}\n" for line in remaining))
    return records


def _append(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = (json.dumps(with_nulls(row), ensure_ascii=False, allow_nan=False) for row in rows)
    with name_disk_errors(Path(file.name)):
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()


class RunLog:
    """Collects what one step reports and writes it when the step ends. Use as a context manager around a
    stage.

    `rows` are the records of all steps of the stage so far, those before a resume included.
    """

    def __init__(
        self,
        run_dir: Path,
        stage: str,
        first_step: int,
        num_steps: int,
        shown: Mapping[str, str],
        *,
        quiet: bool = False,
        report: Callable[[str], None] = silent,
        to: Sequence[str] = ("tensorboard",),
    ):
        """`shown`: metric name -> label in lines and table. `quiet`: write, show nothing. `report` is told of
        every phase that begins. `to`: tools that get the same numbers (log.to).
        """
        self.stage = stage
        self._step = first_step
        self._report = report
        self.shown = shown
        self.num_steps = num_steps
        run_dir.mkdir(parents=True, exist_ok=True)
        cut_back(run_dir / "rollouts.jsonl", stage, first_step)
        self.rows: list[dict[str, Any]] = cut_back(run_dir / "metrics.jsonl", stage, first_step)
        self._trackers = Trackers(to, run_dir, first_step, say)  # may refuse, so before files are open
        self._metrics = open(run_dir / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._rollouts = open(run_dir / "rollouts.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._context = ExitStack()
        self._table = None if quiet else self._context.enter_context(live_table())
        self._plain = not quiet and self._table is None
        self._notes: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        self._clear()

    def _clear(self) -> None:
        self._means: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._values: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._started = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to phase `name` of this step."""
        self._report(f"{self.stage}, step {self._step}, {name}")
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started

    def add(self, stats: Mapping[str, tuple[float, float]]) -> None:
        """Accumulate (sum, count) pairs; each is divided once, when the step is written."""
        for name, (total, count) in stats.items():
            self._means[name][0] += total
            self._means[name][1] += count

    def put(self, values: Mapping[str, float]) -> None:
        """Set values of this step."""
        self._values.update(values)

    def put_max(self, values: Mapping[str, float]) -> None:
        """Keep the largest value seen in this step."""
        for name, value in values.items():
            self._values[name] = max(value, self._values.get(name, -math.inf))

    def mean(self, name: str) -> float:
        """Mean of what has been added in this step."""
        total, count = self._means[name]
        return total / count if count else math.nan

    @property
    def step(self) -> int:
        """The step that is being gathered."""
        return self._step

    def value(self, name: str) -> float:
        return self._values[name]

    def partial(self) -> dict[str, Any]:
        """What has been gathered of the step so far, for a checkpoint in the middle of it."""
        means = {name: list(pair) for name, pair in self._means.items()}  # the step goes on adding to its own
        return {"means": means, "values": dict(self._values)}

    def go_on(self, partial: Mapping[str, Any]) -> None:
        """Take up what `partial` gave."""
        self._means.update({name: list(pair) for name, pair in partial["means"].items()})
        self._values.update(partial["values"])

    def write(self, step: int, samples: list[dict[str, Any]] | None = None) -> None:
        """End a step: divide, write one line, show the step."""
        seconds = time.perf_counter() - self._started
        record = {name: total / count for name, (total, count) in self._means.items() if count} | self._values
        if "tokens" in record:
            record["tokens_per_second"] = record["tokens"] / seconds
        line = {"stage": self.stage, "step": step, **record, "seconds": {**self._seconds, "step": seconds}}
        self.rows.append(line)
        _append(self._metrics, [line])
        _append(self._rollouts, ({"stage": self.stage, "step": step, **sample} for sample in samples or []))
        self._trackers.log(self.stage, step, record)
        self._show(step, record)
        self._clear()
        self._step = step + 1

    def _show(self, step: int, record: Mapping[str, float]) -> None:
        """Draw the table, or say a line."""
        summary = {label: f"{record[name]:.3g}" for name, label in self.shown.items() if name in record}
        times = [row["seconds"] for row in self.rows if "step" in row.get("seconds", {})]
        left = f"{seconds_left(times, self.num_steps - step - 1) / 60:.1f} min left"
        if self._table:
            self._table.put(self.stage, f"{step + 1} of {self.num_steps}", left)
            self._put(self.rows, {**ALSO_SHOWN, **self.shown})
            self._table.draw()
        if self._plain and (step % PLAIN_EVERY == 0 or step + 1 == self.num_steps):
            shown = "  ".join(f"{k} {v}" for k, v in summary.items())
            say(f"  {self.stage} {step + 1}/{self.num_steps}  {shown}  {left}")

    def _put(self, records: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> None:
        """Rows of the table: the last value of each metric, and how it has changed since the first record."""
        for name, label in labels.items():
            values = [record[name] for record in records if name in record]
            if self._table and values:
                self._table.put(label, f"{values[-1]:.3g}", change_text(values[0], values[-1]))

    def note(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """A line of its own beside the steps: what was measured after `step`."""
        _append(self._metrics, [{"stage": stage, "step": step, **values}])
        self._trackers.log(stage, step, values)
        self._notes[stage].append(values)
        label = stage.removeprefix(f"{self.stage}_")
        self._put(self._notes[stage], {name: f"{label} {name}" for name in list(values)[:NOTED]})

    def sync(self) -> None:
        """Everything written so far is on disk."""
        for file in (self._metrics, self._rollouts):
            os.fsync(file.fileno())

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()
        self._trackers.close()
        for file in (self._metrics, self._rollouts):
            with name_disk_errors(Path(file.name)):  # what could not be written before is tried again
                file.close()
