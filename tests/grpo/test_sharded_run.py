"""The whole command by two processes that each hold a share of every model: the run of one process."""

import sys
from pathlib import Path

import pytest
import torch
from processes import run_processes
from safetensors.torch import load_file
from tiny_run import arguments, metrics, write_corpus

from grpo.run import main

WORDS = [
    "the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain", "falls", "on", "the", "old",
    "town",
]  # fmt: skip
SETTINGS = [
    "reward.gates=[]", "reward.threshold=-1.0", "threads=1", "rollout.num_prompts=4", "train.passes=2",
    "train.optim.lr=3e-2", "sft.optim.lr=1e-3", "anchor.sft=0.1", "anchor.train=0.1", "anchor.batch_size=3",
    "tax.budget=0.01", "tax.every=2", "tax.texts=8", "tax.against=warm_start", "eval.every=2",
    "checkpoint.every=1", "checkpoint.snapshots=2", "engine.gradient_checkpointing=true",
]  # fmt: skip
CLOSE = ("loss", "reward_mean", "entropy_mean", "grad_norm", "anchor_kl", "tax", "tokens", "rolled_back")


def write_general_texts(path: Path) -> Path:
    """60 lines of words in another order each."""
    picks = torch.randint(len(WORDS), (60, 8), generator=torch.Generator().manual_seed(0)).tolist()
    path.write_text("".join(" ".join(WORDS[n] for n in row) + "\n" for row in picks), encoding="utf-8")
    return path


def test_the_whole_command_in_shares(tiny_folder: Path, tmp_path: Path, empty_cache: None) -> None:
    """Data to report, with anchor, recomputed layers, dev set, snapshots, checkpoints, and a budget that training exceeds
    once, so that it goes back.
    """
    corpus = write_corpus(tmp_path / "pairs.tsv")
    texts = write_general_texts(tmp_path / "general.txt")
    more = [*SETTINGS, f"reward.encoder=static:{tiny_folder}", f"tax.text={texts}", f"anchor.text={texts}"]
    commands = {name: [*arguments(corpus, tiny_folder, tmp_path / name / "run"), *more] for name in "ab"}
    assert main(commands["a"]) == 0
    run_processes([sys.executable, "-m", "grpo.run", *commands["b"], "parallel.mode=fsdp"], 2)
    one = tmp_path / "a" / "run"
    two = tmp_path / "b" / "run"
    rows = [metrics(run) for run in (one, two)]
    for ours, theirs in zip(*rows, strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for name in ours.keys() & CLOSE:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-4), name
    assert sum(row.get("rolled_back", 0) for row in rows[0]) > 0
    folders = ["warm_start", "policy", *(f"snapshots/{path.name}" for path in (one / "snapshots").iterdir())]
    assert len(folders) == 4
    for folder in folders:
        policies = [load_file(run / folder / "model.safetensors") for run in (one, two)]
        for name, values in policies[0].items():
            assert (policies[1][name] - values).norm() < 1e-2 * values.norm(), (folder, name)
    assert (two / "report.md").is_file()
