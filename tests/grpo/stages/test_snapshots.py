"""Snapshots are the policy after so many steps, bit for bit, whatever the method and however often it was
stopped; and say their cost.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_hooks import stop_after
from tiny_run import Command, metrics, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.config import Config, GuideConfig, RolloutConfig, TrainConfig
from grpo.run import main
from grpo.runtime import checkpoint
from grpo.stages.snapshots import cost as step_cost

pytestmark = pytest.mark.usefixtures("own_cache")
MORE = [
    "rollout.max_new_tokens=32",
    "rollout.group_size=6",
    "train.num_steps=5",
    "checkpoint.snapshots=2",
    "train.optim.schedule=constant",
]
METHODS = ["grpo", "sft", "best_of_group"]


@pytest.fixture
def command(command: Command) -> Command:
    return lambda name, *more: command(name, *MORE, *more)


def snapshots(run: Path) -> dict[str, bytes]:
    return {
        path.name: (path / "model.safetensors").read_bytes() for path in sorted((run / "snapshots").iterdir())
    }


def cost(run: Path, step: int) -> dict[str, float]:
    return json.loads((run / "snapshots" / f"step-{step:06d}" / "cost.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", METHODS)
def test_they_are_the_policy_of_their_step_also_after_a_restart(
    method: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after step 3 and gone on: the snapshot of step 2 is a whole run of two steps, that of 5 is the
    policy.
    """
    whole, short, parts = (tmp_path / name / "run" for name in ("whole", "short", "parts"))
    assert main(command("whole", f"train.method={method}")) == 0
    assert main(command("short", f"train.method={method}", "train.num_steps=2")) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert main(command("parts", f"train.method={method}")) != 0
    written = (parts / "snapshots" / "step-000002" / "model.safetensors").stat().st_mtime_ns
    assert main(command("parts", f"train.method={method}")) == 0
    made = snapshots(whole)
    assert list(made) == ["step-000002", "step-000004", "step-000005"] and len(set(made.values())) == 3
    assert (
        made["step-000005"] == weights(whole)
        and made["step-000002"] == weights(short) == snapshots(short)["step-000002"]
    )
    assert snapshots(parts) == made
    assert (parts / "snapshots" / "step-000002" / "model.safetensors").stat().st_mtime_ns == written
    AutoModelForCausalLM.from_pretrained(whole / "snapshots" / "step-000004")
    assert AutoTokenizer.from_pretrained(whole / "snapshots" / "step-000004").eos_token_id == 1


@pytest.mark.parametrize("method", METHODS)
def test_cost_is_counted_from_the_log(method: str, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    passes = 2 if method == "grpo" else 1
    more = [f"train.method={method}", f"train.passes={passes}", "train.prompts_per_update=0"]
    assert main(command("a", *more)) == 0
    rows = [row for row in metrics(run, everything=True) if row["stage"] not in ("sft", "train_dev")]
    assert len(rows) == 5
    name = "trained_tokens" if method == "grpo" else "tokens"
    sampling = [0.0] * 5
    sampled = []
    if method == "best_of_group":
        sampled = [
            json.loads(line)
            for line in (run / "best_of_group.jsonl").read_text(encoding="utf-8").splitlines()[1:]
        ]
        sampling = [step["seconds"] for step in sampled]
        assert all(seconds > 0 for seconds in sampling)
    for step in (2, 4, 5):
        found = cost(run, step)
        assert found["prompts"] == 2 * step and found["updates"] == passes * step
        assert found["tokens"] == passes * sum(row[name] for row in rows[:step]) > 0
        sampling_rows = (
            rows[:step] if method == "grpo" else sampled[:step] if method == "best_of_group" else []
        )
        assert found["sampled_tokens"] == sum(row["tokens"] for row in sampling_rows)
        assert (found["sampled_tokens"] > 0) == (method != "sft")
        # reference, and policy as it sampled
        scored = 2 * found["tokens"] // passes if method == "grpo" else 0
        assert found["scored_tokens"] == scored
        assert found["seconds"] == pytest.approx(
            sum(row["seconds"]["step"] for row in rows[:step]) + sum(sampling[:step])
        )


def test_grpo_counts_a_prompt_once_for_its_group(command: Command, tmp_path: Path) -> None:
    """A prompt of 4 syllables: its tokens once, and of every completion all but the last token, which is only
    predicted.
    """
    run = tmp_path / "a" / "run"
    assert main(command("a", "train.num_steps=1", "rollout.max_new_tokens=1")) == 0
    row = metrics(run, "train")[0]
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    assert row["tokens"] == 2 * 6  # one token each, never fed
    one = len("藏文：".encode()) + len("ཀ་ཀ་ཀ་ཀ".encode()) + len("\n中文：".encode()) + 1
    assert tokenizer.bos_token_id == 2 and row["trained_tokens"] == 2 * one


def test_tokens_of_guide_and_anchor_count_as_trained() -> None:
    """Two prompts with groups of three, two passes: in each pass 6 completions x 7.5 tokens with their reference texts,
    of which 40 are samples; two updates with 30 tokens of general text each.
    """
    config = Config(
        rollout=RolloutConfig(num_prompts=2, group_size=3),
        train=TrainConfig(passes=2),
        guide=GuideConfig(mode="term"),
    )
    row = {
        "tokens": 33.0,
        "trained_tokens": 40.0,
        "fed_tokens": 7.5,
        "anchor_tokens": 30.0,
        "seconds": {"step": 1.5},
    }
    assert step_cost(config, [row, row]) == {
        "prompts": 4,
        "tokens": 2 * (2 * 45 + 2 * 30),
        "sampled_tokens": 66,
        "scored_tokens": 2 * 2 * 40,
        "updates": 4,
        "seconds": 3.0,
    }


def test_a_step_logs_what_it_feeds(command: Command, tmp_path: Path) -> None:
    """Without a guide as many tokens as the groups have; a guide adds all but the last token of each reference text."""
    plain, guided = (tmp_path / name / "run" for name in ("plain", "guided"))
    short = ["train.num_steps=1", "sft.max_completion_tokens=64"]
    assert main(command("plain", *short)) == 0
    assert main(command("guided", *short, "guide.mode=term", "train.num_steps=1")) == 0
    rows = [metrics(run, "train")[0] for run in (plain, guided)]
    assert 12 * rows[0]["fed_tokens"] == pytest.approx(rows[0]["trained_tokens"])
    texts = 12 * rows[1]["fed_tokens"] - rows[1]["trained_tokens"]
    assert texts == pytest.approx(round(texts)) and 0 < texts < 2 * 64


def test_none_are_kept_unless_asked_for(command: Command, tmp_path: Path) -> None:
    assert main(command("a", "checkpoint.snapshots=0", "train.num_steps=1")) == 0
    assert not (tmp_path / "a" / "run" / "snapshots").exists()


def test_a_kill_right_after_a_checkpoint_loses_no_snapshot(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is resumed from step 2 does not pass step 2 again, so its snapshot must be there before its
    checkpoint is.
    """
    run = tmp_path / "a" / "run"
    real = checkpoint.save

    def killed(folder: Path, *inputs: Any, **more: Any) -> Path:
        path = real(folder, *inputs, **more)
        if folder.name == "train":
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", killed)
        assert main(command("a")) == 130
    assert [path.name for path in (run / "checkpoints" / "train").glob("step-*")] == ["step-000002"]
    assert main(command("a")) == 0
    assert list(snapshots(run)) == ["step-000002", "step-000004", "step-000005"]
