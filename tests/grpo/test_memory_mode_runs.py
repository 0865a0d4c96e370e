"""Whole runs of the command in each memory mode of the optimiser: killed and resumed bit for bit, and with a step in
the backward pass the same as without.
"""

import signal
from functools import partial
from pathlib import Path

import pytest
from run_object import config_of, run_in
from tiny_faults import KILL, at_call
from tiny_run import arguments, assert_same_run, metrics, quick, start, wait_for_exit, weights

from data.errors import InputError
from grpo.config import Config, EngineConfig
from grpo.run import main
from grpo.runtime.parallel import World
from grpo.stages.prepare import check_world

UNCUT = ["sft.optim.max_grad_norm=0", "train.optim.max_grad_norm=0"]
IN_BACKWARD = ["engine.step_in_backward=true", *UNCUT]
SGD = ["sft.optim.name=sgd", "train.optim.name=sgd", "sft.optim.lr=0.1", "train.optim.lr=0.1"]
BF16 = "engine.gradients=bf16"
EIGHT_BIT = "engine.moments=8bit"
ALL = "in backward, all"
MODES = {
    "sgd": SGD,
    "bf16 gradients": [BF16],
    "8bit": [EIGHT_BIT],
    "split": ["engine.weights=split"],
    "in backward": IN_BACKWARD,
    ALL: [*IN_BACKWARD, BF16, EIGHT_BIT],
}
STEP = "grpo.optim:Optimizer.step"
TOO_EARLY = "engine.step_in_backward updates before the norm of all gradients is known"


@pytest.mark.parametrize(
    "mode", [name if name == ALL else pytest.param(name, marks=pytest.mark.slow) for name in MODES]
)
def test_a_run_killed_in_both_loops_ends_bit_equal(
    mode: str, corpus: Path, tiny_folder: Path, tmp_path: Path, own_cache: None
) -> None:
    """kill -9 in the third step of SFT and in the third of GRPO, after the backward pass and before the end of the
    update: parameters that are updated already are those of the checkpoint again.
    """

    def go(name: str, kill_at: int = 0) -> tuple[int | None, str]:
        settings = [*quick(tiny_folder), *MODES[mode], "checkpoint.every=1"]
        fault = partial(at_call, STEP, kill_at, KILL)
        return wait_for_exit(
            *start(arguments(corpus, tiny_folder, tmp_path / name / "run", *settings), fault)
        )

    assert go("whole")[0] == 0
    assert [go("killed", kill_at)[0] for kill_at in (3, 4)] == [-signal.SIGKILL] * 2
    code, output = go("killed")
    assert code == 0 and "resuming train at step 2" in output and "set aside" not in output
    whole, killed = (tmp_path / name / "run" for name in ("whole", "killed"))
    assert_same_run(killed, whole)
    assert all(row["grad_norm"] > 0 and row["skipped_updates"] == 0 for row in metrics(whole))
    assert weights(whole) != (whole / "warm_start" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["sft.max_tokens_per_pass=20", "train.max_tokens_per_pass=40", "engine.gradient_checkpointing=true"],
        ["anchor.sft=0.5", "anchor.train=0.5", "train.passes=2"],
        ["anchor.sft=0.5", "train.method=sft", "sft.max_tokens_per_pass=20"],
    ],
)
def test_a_step_in_the_backward_pass_changes_no_bit_of_a_run(
    more: list[str], corpus: Path, tiny_folder: Path, tmp_path: Path, own_cache: None
) -> None:
    """One pass an update, several, an anchor behind them, two updates of a rollout."""
    (tmp_path / "texts.txt").write_text(
        "The river rose in the night.\nThe road was closed.", encoding="utf-8"
    )
    settings = [*quick(tiny_folder), *UNCUT, f"anchor.text={tmp_path / 'texts.txt'}", "tax.texts=1", *more]
    runs = [tmp_path / name / "run" for name in ("after", "inside")]
    for run, mode in zip(runs, ([], IN_BACKWARD), strict=True):
        assert main([*arguments(corpus, tiny_folder, run, *settings), *mode]) == 0
    assert_same_run(runs[0], runs[1])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["engine.step_in_backward=true"],
            f"{TOO_EARLY}; write sft.optim.max_grad_norm=0 and train.optim.max_grad_norm=0",
        ),
        (
            ["engine.step_in_backward=true", "sft.num_steps=0"],
            f"{TOO_EARLY}; write train.optim.max_grad_norm=0",
        ),
        ([*IN_BACKWARD, "parallel.mode=fsdp"], "engine.step_in_backward works in one process; write"),
        ([BF16, "parallel.mode=fsdp"], "engine.gradients = 'bf16': shares of gradients are in fp32; write"),
        (
            [EIGHT_BIT, "parallel.mode=fsdp"],
            "engine.moments = '8bit' has blocks that shares would cut; write",
        ),
        (
            [EIGHT_BIT, *SGD],
            "engine.moments = '8bit' changes nothing: optim.name = 'sgd' has no moments; write",
        ),
    ],
)
def test_modes_that_cannot_work_together_are_refused(
    settings: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        config_of(tmp_path, settings)
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)


def test_modes_that_work_together_are_accepted(tmp_path: Path) -> None:
    mixed = [EIGHT_BIT, "sft.optim.name=sgd"]
    for settings in (*MODES.values(), mixed, [*SGD, *IN_BACKWARD], [*SGD, "parallel.mode=fsdp"]):
        config_of(tmp_path, settings)


def test_a_step_in_the_backward_pass_is_for_one_process(tmp_path: Path) -> None:
    config = Config(engine=EngineConfig(step_in_backward=True))
    with pytest.raises(InputError, match="runs in 1 process, not in 2; start it without torchrun"):
        check_world(run_in(tmp_path, config, world=World(0, 2)))
    check_world(run_in(tmp_path, config))
