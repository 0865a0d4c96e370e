"""The live table: rows at the bottom of a real terminal with lines above it, and none where there is no terminal."""

import sys
from pathlib import Path

import pytest
from terminal import output_in_terminal, screen_of

from data.live_table import has_terminal

STAGE = """
import sys, tempfile
from pathlib import Path
from data.console import say
from data.live_table import live_table, with_count
from grpo.runtime.run_log import RunLog
import data.live_table as module

module.time_text = lambda seconds: "1 s left"
with live_table(), RunLog(Path(tempfile.mkdtemp()), "train", 0, 3, {"reward_mean": "reward", "gap": "gap"}, to=()) as log:
    for step, reward in enumerate((0.5, 0.75, 0.25)):
        log.put({"reward_mean": reward, "loss": 1.5})
        assert [*with_count(iter("abcd"), "decoding", 4)] == [*"abcd"]
        log.write(step)
        say(f"WARNING: after step {step}, " + 4 * "words ")
    log.note("train_dev", 2, {"cosine": 0.125})
say("the end")
"""


@pytest.mark.parametrize("columns", [80, 40])
def test_rows_stay_below_lines_and_remain(columns: int) -> None:
    output = output_in_terminal(STAGE, columns)
    screen = screen_of(output)
    assert all(len(line) <= columns for line in screen)
    rows = [line.split() for line in screen if line]
    lines = "\n".join(line for line in screen).replace("\n", " ")
    assert lines.startswith("WARNING: after step 0, words words words words")
    assert "\x1b[1;33mWARNING: after step 2, " in output
    assert [row for row in rows if row[0] not in ("WARNING:", "words", "the")] == [
        ["decoding", "4", "of", "4"],
        ["train", "3", "of", "3", "0.0", "min", "left"],
        ["loss", "1.5"],
        ["reward", "0.25", "↓", "from", "0.5"],
        ["dev", "cosine", "0.125"],
    ]
    assert rows[-1] == ["the", "end"] and rows[-2][0] == "dev"
    assert "?25l" not in output.rpartition("?25h")[2]  # the cursor is there again


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_cannot_have_it_gets_lines(variables: dict[str, str]) -> None:
    output = output_in_terminal(STAGE, 80, NO_COLOR="1", **variables)
    assert "\x1b" not in output
    assert output.splitlines()[0] == "  train 1/3  reward 0.5  0.0 min left"


def test_a_terminal_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    pause = "        import time; time.sleep(0.2)\n    log.note"
    code = (
        STAGE.replace("    log.note", pause)
        + f"Path({str(tmp_path / 'done')!r}).write_text(str(len(log.rows)))\n"
    )
    output = output_in_terminal(code, 80, last="after step 0")
    assert "after step 2" not in output
    assert (tmp_path / "done").read_text() == "3"


def test_only_the_first_process_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name in ("CI", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_terminal()
    monkeypatch.setenv("RANK", "1")
    assert not has_terminal()
