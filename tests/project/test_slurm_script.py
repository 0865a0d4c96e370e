"""examples/slurm.sh asks srun for torchrun on every node, with the arguments of the user."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

from repository import ROOT

SCRIPT = ROOT / "examples" / "slurm.sh"


def stub(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def test_it_starts_torchrun_with_the_arguments_of_the_user(tmp_path: Path) -> None:
    stub(tmp_path, "scontrol", "echo node7; echo node8")
    stub(tmp_path, "srun", 'printf "%s\\n" "$@"')
    job = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "40017",
        "SLURM_GPUS_ON_NODE": "4",
    }
    done = subprocess.run(
        ["bash", str(SCRIPT), "configs/mt.toml", "run_dir=runs/a b"],
        env=job,
        capture_output=True,
        text=True,
        check=True,
    )
    arguments = done.stdout.splitlines()
    assert arguments[1:4] == ["python", "-m", "torch.distributed.run"]
    assert arguments[-5:] == ["-m", "grpo.run", "--config", "configs/mt.toml", "run_dir=runs/a b"]
    pairs = dict(pairwise(arguments))
    assert (pairs["--nnodes"], pairs["--nproc-per-node"]) == ("2", "4")
    assert pairs["--rdzv-endpoint"] == "node7:20017"
