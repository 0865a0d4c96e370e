"""Two agents of torchrun on this machine stand for two nodes: the tiny run to its report, and one node lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import CHILD_PATH
from tiny_run import arguments, metrics, weights, write_corpus
from tiny_team import free_port

pytestmark = pytest.mark.slow
SECONDS = 600  # no test waits longer


class Nodes:
    """The command on two nodes of so many processes each."""

    def __init__(self, argv: list[str], processes: int) -> None:
        torchrun = [
            *(
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nnodes",
                "2",
                "--nproc-per-node",
                str(processes),
            ),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "tiny"),
        ]
        self.agents = [
            subprocess.Popen(
                [*torchrun, "--local-addr", "127.0.0.1", "-m", "grpo.run", *argv],
                env=os.environ | CHILD_PATH | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(2)
        ]

    def ends(self) -> list[tuple[int, str]]:
        """Of each agent the exit code, or minus the signal that killed it, and what its node printed."""
        outputs = [agent.communicate(timeout=SECONDS)[0] for agent in self.agents]
        return [(agent.returncode, output) for agent, output in zip(self.agents, outputs, strict=True)]

    def lose(self, node: int) -> None:
        """The agent and its processes are gone from one moment to the next."""
        pid = self.agents[node].pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for number in (pid, *map(int, workers)):
            os.kill(number, signal.SIGKILL)


def wait_for_training(run: Path) -> None:
    """Until a step of the stage train is in the log."""
    log = run / "metrics.jsonl"
    for _ in range(10 * SECONDS):
        if log.exists() and '"stage": "train"' in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError("no step was made")


@pytest.fixture
def settings(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    reward = [f"reward.encoder=static:{tiny_folder}", "reward.gates=[]", "reward.threshold=-1.0"]
    return [
        *reward,
        "threads=1",
        "checkpoint.every=1",
        "train.num_steps=40",
        "rollout.num_prompts=4",
        "parallel.patience=5",
    ]


def run_whole(argv: list[str], processes: int) -> str:
    """Both nodes end well; what both printed."""
    ends = Nodes(argv, processes).ends()
    assert [code for code, _ in ends] == [0, 0], ends
    return "".join(output for _, output in ends)


@pytest.mark.parametrize("processes", [1, 2])
def test_two_nodes_run_to_the_report(
    settings: list[str], processes: int, tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    output = run_whole(
        arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, run, *settings), processes
    )
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
    run_whole(argv["whole"], 1)
    nodes = Nodes(argv["lost"], 1)
    wait_for_training(tmp_path / "lost" / "run")
    nodes.lose(node)
    ends = nodes.ends()
    assert ends[node][0] == -signal.SIGKILL and ends[1 - node][0] == 1
    lines = [line for line in ends[1 - node][1].splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "process " in lines[0] and " on " in lines[0], ends
    assert "gave no sign of life" in lines[0] or "is gone" in lines[0]
    run_whole(argv["lost"], 1)
    runs = [tmp_path / name / "run" for name in argv]
    assert weights(runs[0]) == weights(runs[1])
    assert metrics(runs[0]) == metrics(runs[1])
