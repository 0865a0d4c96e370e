"""Real processes of one run, of which one dies, hangs, is suspended, fails or is told to stop: the others end soon,
one sentence names it, and the same command goes on to the same bits.
"""

import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tiny_faults import at_call, send
from tiny_run import arguments, assert_same_run, quick, write_corpus
from tiny_team import PATIENCE, start_team


class Job:
    """The tiny run by two processes in a folder of its own."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.corpus = write_corpus(folder / "pairs.tsv")

    def argv(self, name: str) -> list[str]:
        settings = [*quick(self.model), "checkpoint.every=1", "train.num_steps=6"]
        return arguments(self.corpus, self.model, self.folder / name / "run", *settings)

    def run(self, name: str) -> Path:
        """The run folder once the command has ended well."""
        for code, output in start_team(self.argv(name), 2).ends():
            assert code == 0, output
        return self.folder / name / "run"


@pytest.fixture(scope="module")
def job(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The job, with a cache of its own for all tests of this file."""
    job = Job(tiny_folder, tmp_path_factory.mktemp("job"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SEMANTIC_GRPO_CACHE", str(job.folder / "cache"))
        yield job


@pytest.fixture(scope="module")
def whole(job: Job) -> Path:
    """An undisturbed run."""
    return job.run("whole")


def assert_goes_on(job: Job, name: str, whole: Path) -> None:
    run = job.run(name)
    assert_same_run(run, whole)


def the_sentence(output: str, rank: int, pid: int | None) -> str:
    """The only line of an error, which names the process. Fails for another one or for none."""
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f"process {rank} on " in line and f"(process id {pid}; last at: " in line
    return line


def hang() -> None:
    while True:
        time.sleep(1000)


def fail() -> None:
    raise ValueError("as the test wants")


@pytest.mark.slow
def test_a_process_that_is_killed(job: Job, whole: Path) -> None:
    team = start_team(
        job.argv("killed"), 2, {1: partial(at_call, "grpo.loop:collect", 3, partial(send, signal.SIGKILL))}
    )
    (code, output), (killed, _) = team.ends()
    assert (code, killed) == (1, -signal.SIGKILL)
    line = the_sentence(output, 1, team.processes[1].pid)
    # what it said of itself is up to a second old, in which a tiny run makes several steps
    assert re.search(r"last at: (sft|train)\b", line) and "gave no sign of life for" in line
    assert_goes_on(job, "killed", whole)


@pytest.mark.slow
def test_the_process_that_keeps_the_store_is_killed(job: Job, whole: Path) -> None:
    team = start_team(
        job.argv("store"), 2, {0: partial(at_call, "grpo.loop:collect", 3, partial(send, signal.SIGKILL))}
    )
    (killed, _), (code, output) = team.ends()
    assert (killed, code) == (-signal.SIGKILL, 1)
    assert "is gone" in the_sentence(output, 0, team.processes[0].pid)
    assert_goes_on(job, "store", whole)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_suspended_process(job: Job, whole: Path, rank: int) -> None:
    """Process 0 takes the store with it, which then does not answer."""
    name = f"suspended{rank}"
    team = start_team(
        job.argv(name), 2, {rank: partial(at_call, "grpo.loop:collect", 3, partial(send, signal.SIGSTOP))}
    )
    other = 1 - rank
    team.processes[other].join()
    team.signal(rank, signal.SIGKILL)  # as torchrun does
    ends = team.ends()
    assert ends[other][0] == 1
    line = the_sentence(ends[other][1], rank, team.processes[rank].pid)
    assert "no sign of life" in line or "gave no answer" in line
    assert_goes_on(job, name, whole)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["grpo.loop:collect", "grpo.stages.prepare:check_sides"])
def test_a_main_thread_that_hangs(job: Job, whole: Path, place: str) -> None:
    """In a step, where the other one waits in an exchange, and in a stage that the first does alone."""
    name = place.rpartition(":")[2]
    rank = 1 if name == "collect" else 0
    team = start_team(job.argv(name), 2, {rank: partial(at_call, place, 1, hang)})
    ends = team.ends()
    assert [code for code, _ in ends] == [1, 1]
    assert f"did nothing for {PATIENCE} s" in the_sentence(
        ends[0][1] + ends[1][1], rank, team.processes[rank].pid
    )
    assert_goes_on(job, name, whole)


@pytest.mark.slow
def test_an_error_that_nobody_foresaw(job: Job, whole: Path) -> None:
    """Its traceback is printed once, and one sentence."""
    team = start_team(job.argv("failed"), 2, {1: partial(at_call, "grpo.loop:collect", 3, fail)})
    ends = team.ends()
    assert [code for code, _ in ends] == [1, 1]
    output = ends[0][1] + ends[1][1]
    assert output.count("Traceback") == 1 and "ValueError: as the test wants" in output
    assert "failed: ValueError: as the test wants; " in the_sentence(output, 1, team.processes[1].pid)
    assert_goes_on(job, "failed", whole)


def test_bad_input_of_all_is_said_once(job: Job) -> None:
    argv = [*job.argv("bad"), "rollout.num_prompts=3"]
    ends = start_team(argv, 2).ends()
    assert [code for code, _ in ends] == [2, 2]
    output = ends[0][1] + ends[1][1]
    assert output.count("2 processes cannot share 3 prompts an update") == 1 and "Traceback" not in output


@pytest.mark.parametrize(
    ("number", "place"),
    [
        (signal.SIGTERM, "grpo.loop:collect"),
        *(
            pytest.param(number, place, marks=pytest.mark.slow)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            for place in ("grpo.sft:completion_logps", "grpo.loop:collect")
            if (number, place) != (signal.SIGTERM, "grpo.loop:collect")
        ),
    ],
)
def test_a_signal_to_one_process_saves_and_ends_all(job: Job, whole: Path, number: int, place: str) -> None:
    name = f"{signal.Signals(number).name}-{place.rpartition(':')[2]}"
    team = start_team(job.argv(name), 2, {1: partial(at_call, place, 2, partial(send, number))})
    ends = team.ends()
    assert [code for code, _ in ends] == [128 + number, 128 + number], ends
    output = ends[0][1] + ends[1][1]
    assert output.count("stopped and saved; the same command goes on from there") == 1
    assert "error" not in output and "Traceback" not in output
    stage = "sft" if "sft" in place else "train"
    assert [path.name for path in (job.folder / name / "run" / "checkpoints" / stage).glob("step-*")]
    assert_goes_on(job, name, whole)


@pytest.mark.slow
def test_a_signal_while_the_first_process_works_alone(job: Job, whole: Path) -> None:
    """The other one waits, and still has to pass the signal on."""
    team = start_team(
        job.argv("alone"),
        2,
        {0: partial(at_call, "grpo.stages.prepare:check_sides", 1, partial(time.sleep, 3))},
    )
    team.wait_until_joined()
    team.signal(1, signal.SIGTERM)
    ends = team.ends()
    assert [code for code, _ in ends] == [143, 143], ends
    assert_goes_on(job, "alone", whole)


@pytest.mark.slow
def test_a_long_work_of_one_process_is_waited_for(job: Job, whole: Path) -> None:
    """Longer than the patience: it gives signs of life and of work."""
    team = start_team(
        job.argv("long"), 2, {0: partial(at_call, "grpo.stages.prepare:check_sides", 1, partial(work, 12.0))}
    )
    for code, output in team.ends():
        assert code == 0, output
    assert_goes_on(job, "long", whole)


def work(seconds: float) -> None:
    begin = time.process_time()
    while time.process_time() - begin < seconds / 2:
        sum(range(1000))
