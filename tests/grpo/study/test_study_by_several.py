"""A study under torchrun: each process trains arms of its own, and all of it is that of one process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from repository import CHILD_PATH
from tiny_study import write_study

from grpo.runtime.parallel import World
from grpo.study.__main__ import Work, chosen_parts, own_arms
from grpo.study.config import ArmConfig, Study

ARMS = """
[arms.again]
start = "grpo"
settings = ["train.method=sft"]
"""


def names(arms: list[ArmConfig]) -> list[str]:
    return [arm.name for arm in arms]


def test_arms_go_to_processes_in_turn_and_stay_with_the_arm_that_they_begin_from() -> None:
    arms = [
        ArmConfig("a"),
        ArmConfig("b"),
        ArmConfig("c", start="a"),
        ArmConfig("d"),
        ArmConfig("e", start="c"),
    ]
    shares = [
        own_arms(Work(Study(arms=tuple(arms), seeds=(0, 1)), arms, [0, 1], [], World(rank, 2)))
        for rank in range(2)
    ]
    assert [{seed: names(own) for seed, own in share.items()} for share in shares] == [
        {0: ["a", "c", "e", "d"], 1: ["b"]},
        {0: ["b"], 1: ["a", "c", "e", "d"]},
    ]
    assert chosen_parts("report,train") == ["train", "report"]


def study(folder: Path, corpus: Path, model: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    """The real command by so many processes, training only."""
    argv = ["-m", "grpo.study", *write_study(folder, corpus, model, ARMS), "--only", "train", *more]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *torchrun, *argv],
        env=os.environ
        | CHILD_PATH
        | {"SEMANTIC_GRPO_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def policies(folder: Path) -> dict[str, bytes]:
    """The last weights of every arm."""
    files = (folder / "study" / "arms").glob("*/seed0/policy/model.safetensors")
    return {path.parents[2].name: path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_processes_train_the_arms_of_one_also_after_a_stop(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    with study(tmp_path / "one", corpus, tiny_folder, processes=1) as alone:
        output, _ = alone.communicate()
        assert alone.returncode == 0, output
    folder = tmp_path / "two"
    with study(folder, corpus, tiny_folder) as stopped:
        assert stopped.stdout is not None
        printed = []
        for line in stopped.stdout:
            printed.append(line)
            if line == "grpo seed0 | == train\n":
                stopped.send_signal(signal.SIGTERM)
    assert stopped.returncode != 0
    assert sum("stopped and saved" in line and " | " not in line for line in printed) == 1, printed
    assert not any(line.startswith("error: ") for line in printed), printed
    with study(folder, corpus, tiny_folder) as again:
        output, _ = again.communicate()
        assert again.returncode == 0, output
    assert set(policies(folder)) == {"grpo", "sft", "again"}
    assert policies(folder) == policies(tmp_path / "one")
    logs = [(folder / "study" / "arms" / name / "seed0" / "log.txt").read_text() for name in ("grpo", "sft")]
    assert all("== train" in log for log in logs)


@pytest.mark.slow
def test_one_run_in_all_processes_is_refused(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with study(tmp_path, corpus, tiny_folder, 'settings=["parallel.mode=fsdp"]') as command:
        output, _ = command.communicate()
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert (
        len(lines) == 1 and "arms.grpo: parallel.mode = 'fsdp' shares one run among the processes" in lines[0]
    )
