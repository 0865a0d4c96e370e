"""kill -9 of one of several processes at random moments: all others end soon and name it, and the same command,
again and again, ends bit-equal to a run that nobody killed.
"""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from tiny_run import arguments, assert_same_run, quick, write_corpus
from tiny_team import Team, start_team

pytestmark = pytest.mark.usefixtures("empty_cache")
MODES = ["data", pytest.param("fsdp", marks=pytest.mark.slow)]  # of parallel.mode
AFTER_START = 0.2  # of the run's seconds: no kill comes later, so that most of them strike


def seconds_of(team: Team) -> float:
    """From when all have joined until the undisturbed end."""
    team.wait_until_joined()
    started = time.perf_counter()
    for code, output in team.ends():
        assert code == 0, output
    return time.perf_counter() - started


def check_ends(team: Team, victim: int) -> bool:
    """Whether the kill of `victim` came before the end. Every survivor then has code 1, and one names it."""
    ends = team.ends()
    output = "".join(text for _, text in ends)
    codes = [code for code, _ in ends]
    assert "Traceback" not in output and "set aside" not in output, output
    if codes == [0] * len(codes):
        return False
    assert codes == [-signal.SIGKILL if rank == victim else 1 for rank in range(len(codes))], ends
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert lines and all(f"process {victim} on " in line for line in lines), output
    assert len(lines) == 1, lines
    return True


def survive_kills(kills: int, size: int, mode: str, model: Path, folder: Path) -> int:
    """Kill random processes of a run so often, start it again each time, and compare what it ends as; the number
    of whole runs that this took.
    """
    corpus = write_corpus(folder / "pairs.tsv")
    steps = [
        f"sft.num_steps={4 * kills}",
        f"train.num_steps={4 * kills}",
        "train.passes=2",
        "checkpoint.every=1",
    ]
    settings = [*quick(model), *steps, "rollout.num_prompts=4", f"parallel.mode={mode}"]
    whole = folder / "whole" / "run"
    run = folder / "killed" / "run"
    seconds = seconds_of(start_team(arguments(corpus, model, whole, *settings), size))
    chance = random.Random(1000 * size + kills)
    done = 0
    ends = 0
    while done < kills or not ends:
        team = start_team(arguments(corpus, model, run, *settings), size)
        victim = chance.randrange(size)
        if done < kills:
            team.wait_until_joined()
            team.processes[victim].join(chance.uniform(0, AFTER_START * seconds))
            team.signal(victim, signal.SIGKILL)
        if check_ends(team, victim):
            done += 1
            continue
        assert_same_run(run, whole)
        ends += 1
        shutil.rmtree(run)
    return ends


@pytest.mark.parametrize("mode", MODES)
def test_a_run_of_two_processes_survives_kills(mode: str, tiny_folder: Path, tmp_path: Path) -> None:
    survive_kills(3, 2, mode, tiny_folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [2, 4])
def test_a_run_of_several_processes_survives_twenty_kills(
    size: int, mode: str, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = survive_kills(20, size, mode, tiny_folder, tmp_path)
    with capsys.disabled():
        print(f"\n20 kills of {size} processes, mode {mode}: {ends} runs ended bit-equal")
