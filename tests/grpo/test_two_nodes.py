"""torchrun itself: two agents on this machine stand for two nodes, of which one is lost; and one agent loses a
process, or gets the signal.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import CHILD_PATH
from tiny_run import arguments, assert_same_run, write_corpus
from tiny_team import free_port

pytestmark = pytest.mark.slow
SECONDS = 600  # no test waits longer


class Nodes:
    """The command on so many nodes of so many processes each."""

    def __init__(self, argv: list[str], nodes: int, processes: int) -> None:
        options = {
            "nnodes": nodes,
            "nproc-per-node": processes,
            "rdzv-backend": "c10d",
            "rdzv-endpoint": f"127.0.0.1:{free_port()}",
            "rdzv-id": "tiny",
            "local-addr": "127.0.0.1",
        }
        torchrun = ["-m", "torch.distributed.run", *(f"--{name}={value}" for name, value in options.items())]
        self.agents = [
            subprocess.Popen(
                [sys.executable, *torchrun, "-m", "grpo.run", *argv],
                env=os.environ | CHILD_PATH | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(nodes)
        ]

    def ends(self) -> list[tuple[int, str]]:
        """Of each agent the exit code, or minus the signal that killed it, and what its node printed."""
        outputs = [agent.communicate(timeout=SECONDS)[0] for agent in self.agents]
        return [(agent.returncode, output) for agent, output in zip(self.agents, outputs, strict=True)]

    def workers(self, node: int) -> list[int]:
        """The process ids on a node, in order of rank."""
        pid = self.agents[node].pid
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def lose(self, node: int) -> None:
        """The agent and its processes are gone from one moment to the next."""
        for pid in (self.agents[node].pid, *self.workers(node)):
            os.kill(pid, signal.SIGKILL)


def errors_in(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("error: ")]


def wait_for_training(run: Path) -> None:
    """Until a step of the stage train is in the log."""
    log = run / "metrics.jsonl"
    for _ in range(10 * SECONDS):
        if log.exists() and '"stage": "train"' in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError("no step was made")


@pytest.fixture
def settings(tiny_folder: Path, empty_cache: None) -> list[str]:
    reward = [f"reward.encoder=static:{tiny_folder}", "reward.gates=[]", "reward.threshold=-1.0"]
    steps = ["checkpoint.every=1", "train.num_steps=40", "rollout.num_prompts=6", "sft.batch_size=6"]
    return [*reward, *steps, "threads=1", "parallel.patience=5"]


def run_whole(argv: list[str], nodes: int, processes: int) -> str:
    """All nodes end well; what they printed."""
    ends = Nodes(argv, nodes, processes).ends()
    assert [code for code, _ in ends] == [0] * nodes, ends
    return "".join(output for _, output in ends)


@pytest.mark.parametrize("processes", [1, 3])
def test_two_nodes_run_to_the_report(
    settings: list[str], processes: int, tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    argv = arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, run, *settings)
    output = run_whole(argv, 2, processes)
    assert output.count("== train\n") == 1 and output.count("report: ") == 1
    assert (run / "report.html").exists() and len(list((run / "ranks").iterdir())) == 2 * processes - 1


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_is_lost_stops_the_other_and_the_same_command_goes_on(
    settings: list[str], node: int, tiny_folder: Path, tmp_path: Path
) -> None:
    """Either the one that keeps the store of the run, or the other one; which of the agents that is, the first to
    come decides.
    """
    corpus = write_corpus(tmp_path / "pairs.tsv")
    argv = {
        name: arguments(corpus, tiny_folder, tmp_path / name / "run", *settings) for name in ("whole", "lost")
    }
    run_whole(argv["whole"], 2, 1)
    nodes = Nodes(argv["lost"], 2, 1)
    wait_for_training(tmp_path / "lost" / "run")
    nodes.lose(node)
    ends = nodes.ends()
    assert ends[node][0] == -signal.SIGKILL and ends[1 - node][0] == 1
    (line,) = errors_in(ends[1 - node][1])
    assert "process " in line and " on " in line
    assert "gave no sign of life" in line or "is gone" in line
    run_whole(argv["lost"], 2, 1)
    runs = [tmp_path / name / "run" for name in argv]
    assert_same_run(runs[0], runs[1])


@pytest.mark.parametrize("rank", [0, 2])
def test_torchrun_loses_a_process(settings: list[str], rank: int, tiny_folder: Path, tmp_path: Path) -> None:
    """It sends SIGTERM to the others at once; they still say who died, and blame nobody else."""
    run = tmp_path / "run"
    argv = arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, run, *settings)
    nodes = Nodes(argv, 1, 3)
    wait_for_training(run)
    pid = nodes.workers(0)[rank]
    os.kill(pid, signal.SIGKILL)
    ((code, output),) = nodes.ends()
    assert code == 1
    (line,) = errors_in(output)
    assert (
        f"process {rank} on " in line and line.count("(process id ") == 1 and f"(process id {pid}; " in line
    )
    assert "exitcode  : -15" not in output


def test_torchrun_gets_a_signal(settings: list[str], tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    argv = arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, run, *settings)
    nodes = Nodes(argv, 1, 3)
    wait_for_training(run)
    nodes.agents[0].send_signal(signal.SIGTERM)
    for pid in nodes.workers(0):  # as a cluster does, which signals all processes of a job
        os.kill(pid, signal.SIGTERM)
    ((_, output),) = nodes.ends()
    assert output.count("stopped and saved; the same command goes on from there") == 1
    assert errors_in(output) == []
    assert list((run / "checkpoints" / "train").glob("step-*"))
    assert "resuming train at step" in run_whole(argv, 1, 3)
