"""timings.json of a run folder: the seconds that each stage took, and the peak of memory."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from data.cache import atomic_write_text
from data.documents import parse_log_row, read_bytes, read_object
from data.errors import InputError

TIMINGS = "timings.json"


def add_timing(folder: Path, stage: str, seconds: float, peak_bytes: int) -> None:
    """Add a stage's seconds to timings.json; a resumed stage adds to what it took before."""
    timings = timings_of(folder)
    timings["stages"][stage] = timings["stages"].get(stage, 0.0) + seconds
    timings["peak_memory_bytes"] = max(timings["peak_memory_bytes"], peak_bytes)
    atomic_write_text(folder / TIMINGS, json.dumps(timings, indent=1))


def timings_of(folder: Path) -> dict[str, Any]:
    """What timings.json says so far. Raises InputError for a damaged one."""
    path = folder / TIMINGS
    if not path.exists():
        return {"stages": {}, "peak_memory_bytes": 0}
    timings = read_object(path)
    stages = timings.get("stages")
    peak = timings.get("peak_memory_bytes")
    if not isinstance(stages, dict) or not all(
        isinstance(number, int | float) for number in (peak, *stages.values())
    ):
        raise InputError(
            f"{path}: must hold 'stages', a number of seconds each, and 'peak_memory_bytes'; remove the file"
        )
    return timings


def add_steps_of_the_log(folder: Path) -> None:
    """Give each stage at least the seconds of its steps in metrics.jsonl: a process that was killed has saved no time.

    What it did beside whole steps stays unknown: loading, and evaluations on the dev set. Raises InputError.
    """
    timings = timings_of(folder)
    stages = timings["stages"]
    found = {stage: max(stages.get(stage, 0.0), seconds) for stage, seconds in step_seconds(folder).items()}
    if found != {stage: stages.get(stage) for stage in found}:
        atomic_write_text(folder / TIMINGS, json.dumps(timings | {"stages": stages | found}, indent=1))


def step_seconds(folder: Path) -> dict[str, float]:
    """The seconds of all steps in metrics.jsonl, by stage; a last line that a kill left unfinished does not count."""
    path = folder / "metrics.jsonl"
    totals: dict[str, float] = defaultdict(float)
    for number, line in enumerate(read_bytes(path).split(b"\n")[:-1] if path.exists() else [], 1):
        row = parse_log_row(line, f"{path}:{number}")
        if "step" in row.get("seconds", {}):
            totals[row["stage"]] += row["seconds"]["step"]
    return dict(totals)
