"""The time left on step times that were recorded, and where it must be exact; and the lines that say it."""

import io
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.console import say
from grpo.runtime.run_log import RunLog
from grpo.runtime.time_left import seconds_left

Steps = list[dict[str, float]]
# seconds of each step of two runs on a busy machine of two cores: GRPO, and SFT with a snapshot every 20 steps
GRPO = [
    56.6, 82.7, 55.0, 27.9, 31.7, 40.6, 45.9, 46.5, 36.2, 48.0, 47.8, 62.2, 30.1, 35.7, 42.7, 41.6, 38.7, 28.8, 40.7, 40.1,
    44.1, 40.4, 33.7, 37.5, 48.2, 52.5, 46.7, 28.1, 40.8, 32.3, 39.9, 49.1, 44.0, 40.4, 30.7, 53.8, 59.4, 55.0, 53.7, 53.0,
]  # fmt: skip
SFT = [
    34.4, 16.9, 15.7, 15.9, 16.6, 21.4, 17.8, 17.6, 15.2, 16.3, 17.9, 14.8, 25.9, 17.1, 20.2, 18.2, 18.7, 15.3, 15.6, 18.1,
    25.7, 15.0, 15.2, 17.0, 23.9, 17.2, 17.6, 15.7, 18.3, 13.9, 14.6, 13.6, 13.7, 16.9, 12.0, 13.0, 12.9, 13.4, 11.5, 11.0,
    17.2, 11.0, 12.3, 9.9, 9.7, 10.7, 11.2, 13.1, 11.1, 11.9, 11.1, 10.4, 13.1, 9.7, 11.3, 10.7, 16.9, 13.9, 12.0, 15.6,
]  # fmt: skip


def steps_of(seconds: list[float], snapshots: dict[int, float]) -> Steps:
    return [
        {"update": total - snapshots.get(step, 0.0), "snapshot": snapshots.get(step, 0.0), "step": total}
        for step, total in enumerate(seconds)
    ]


def ends(steps: Steps, left: Callable[[Steps, int], float]) -> list[float]:
    """When the stage ends, in shares of its true seconds, by the estimate after each of its steps."""
    passed = [*itertools.accumulate(step["step"] for step in steps)]
    return [
        (time + left(steps[:done], len(steps) - done)) / passed[-1] for done, time in enumerate(passed, 1)
    ]


def largest_jump(shares: list[float]) -> float:
    return max(abs(after - before) for before, after in itertools.pairwise(shares))


@pytest.mark.parametrize(
    ("steps", "error"), [(steps_of(GRPO, {20: 9.7}), 0.1), (steps_of(SFT, {20: 9.1, 40: 6.9}), 0.2)]
)
def test_the_end_moves_little_from_step_to_step(steps: Steps, error: float) -> None:
    """Past bug: the last step times the steps left said 104.7, 8.9, 18.0, 7.6 and 15.4 minutes."""
    found = ends(steps, seconds_left)[4:]
    assert largest_jump(found) < 0.06
    assert max(abs(share - 1) for share in found) < error
    assert largest_jump(ends(steps, lambda rows, left: left * rows[-1]["step"])[4:]) > 0.3


def test_what_comes_between_steps_is_counted_on_its_own() -> None:
    """20 steps of 2 seconds, 30 seconds on the dev set after each fifth and 7 for the tax after each third."""
    steps: Steps = []
    for done in range(20):
        between = {"dev": 30.0 * (done % 5 == 0 < done), "tax": 7.0 * (done % 3 == 0 < done)}
        setup = 500.0 * (done == 0)
        steps.append({"update": 2.0, **between, "step": 2.0 + setup + sum(between.values())})
    for done in range(6, 21):
        rows = steps[:done]
        expected = 2 * (20 - done) + 30 * (4 - (done - 1) // 5) + 7 * (6 - (done - 1) // 3)
        assert seconds_left(rows, 20 - done) == pytest.approx(expected)
    assert seconds_left(steps[:1], 19) == 38  # without what the first step has alone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_stands_above_the_table_and_a_warning_stands_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal: Any = Terminal()
    for name in ("NO_COLOR", "CI", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    with RunLog(tmp_path, "sft", 0, 3, {"loss": "loss"}, to=()) as log:
        log.put({"loss": 1.5})
        log.write(0)
        start = terminal.tell()
        say("WARNING: it is late")
        say("a plain line")
        shown = terminal.getvalue()[start:]
    before, warning, after = shown.partition("\033[1;33mWARNING: it is late\033[0m\n")
    assert warning and before == "\r\033[2K\033[1A\033[2K"  # the two rows are wiped first
    line, _, rows = after.partition("a plain line\n")
    assert line.endswith("\r\033[2K\033[1A\033[2K")
    for shown in (line, rows):  # and there again after each line
        assert [*map(str.split, re.sub(r"\x1b\[[0-9;]*[mKA]", "", shown).split("\n"))][:2] == [
            ["sft", "1", "of", "3", "0.0", "min", "left"],
            ["loss", "1.5"],
        ]


def test_without_a_terminal_a_line_is_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, "sft", 0, 12, {"loss": "loss"}, to=()) as log:
        for step in range(12):
            log.put({"loss": 1.5})
            log.write(step)
    say("WARNING: it is late")
    captured = capsys.readouterr()
    assert captured.out == (
        "  sft 1/12  loss 1.5  0.0 min left\n  sft 11/12  loss 1.5  0.0 min left\n"
        "  sft 12/12  loss 1.5  0.0 min left\nWARNING: it is late\n"
    )
    assert captured.err == ""
