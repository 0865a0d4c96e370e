"""timings.json: the seconds of a stage that was killed, by hand."""

import json
from pathlib import Path

from grpo.runtime.timings import add_steps_of_the_log, add_timing, timings_of


def test_a_stage_that_was_killed_has_the_seconds_of_its_logged_steps(tmp_path: Path) -> None:
    """Past bug: what a process did before kill -9 was in no sum. The last line is half written."""
    add_timing(tmp_path, "data", 5.0, 7)
    add_timing(tmp_path, "sft", 3.0, 9)
    rows = [
        {"stage": "sft", "step": 0, "seconds": {"update": 1.0, "step": 2.0}},
        {"stage": "train", "step": 0, "seconds": {"rollout": 1.5, "step": 4.0}},
        {"stage": "train_dev", "step": 0},
        {"stage": "train", "step": 1, "seconds": {"step": 6.5}},
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"stage": "train", "step": 2, "sec', encoding="utf-8")
    for _ in range(2):
        add_steps_of_the_log(tmp_path)
        known = {"stages": {"data": 5.0, "sft": 3.0, "train": 10.5}, "peak_memory_bytes": 9}
        assert timings_of(tmp_path) == known
    add_timing(tmp_path, "train", 1.5, 0)
    assert timings_of(tmp_path)["stages"]["train"] == 12.0


def test_a_folder_without_a_log_gets_no_timings(tmp_path: Path) -> None:
    add_steps_of_the_log(tmp_path)
    assert not list(tmp_path.iterdir())
