"""Checkpoints: exact, atomic, checked before use; the newest and the best are kept."""

import errno
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from explore import flip, truncate
from safetensors import SafetensorError
from tiny import tiny_gemma, tiny_llama

from data.errors import InputError, TrainingFailure
from grpo.config import OptimConfig
from grpo.engine.model import parameter_hash
from grpo.optim import SCHEDULES, Optimizer, learning_rate
from grpo.records import LoopState
from grpo.runtime import checkpoint


def train(steps: int) -> tuple[torch.nn.Module, Optimizer]:
    model = tiny_gemma()
    optimizer = Optimizer(model, OptimConfig(lr=1e-3), num_updates=10)
    for step in range(steps):
        model(input_ids=torch.tensor([[2, 5 + step, 7]])).logits.square().mean().backward()
        optimizer.step()
    return model, optimizer


def save(folder: Path, step: int, keep: int = 2, **more: Any) -> Path:
    return checkpoint.save(folder, *train(1), LoopState(step=step), keep=keep, **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_exact_and_training_goes_on_equally(tmp_path: Path) -> None:
    model, optimizer = train(3)
    optimizer.skipped = 7
    optimizer.skipped_in_a_row = 2
    path = checkpoint.save(tmp_path, model, optimizer, LoopState(step=3), keep=2)
    other = tiny_gemma(seed=9)
    fresh = Optimizer(other, OptimConfig(lr=1e-3), num_updates=10)
    assert checkpoint.restore(path, other, fresh) == LoopState(step=3)
    assert (fresh.update, fresh.skipped, fresh.skipped_in_a_row) == (3, 7, 2)
    for m, o in ((model, optimizer), (other, fresh)):
        m(input_ids=torch.tensor([[2, 50, 7]])).logits.square().mean().backward()
        o.step()
    assert parameter_hash(model) == parameter_hash(other)
    assert fresh.update == 4


def test_the_middle_of_a_step_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Views of one memory, booleans, fp64, an empty tensor; and in JSON numbers that decimal notation would
    round, infinite ones, NaN.
    """
    whole = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3
    tensors = {
        "rewards": whole,
        "row": whole[1],
        "finished": whole > 0,
        "none": torch.empty(0, 5),
        "ids": torch.arange(7),
    }
    partial = {
        "means": {"loss": [0.1 + 0.2, 3.0]},
        "values": {"lr": 1e-5 / 3, "gap": -math.inf, "kl": math.nan, "tiny": 5e-324},
    }
    state = LoopState(step=12, update=3, kl_coef=0.02 * 1.1, tensors=tensors, partial=partial)
    model, optimizer = train(1)
    path = checkpoint.save(tmp_path, model, optimizer, state, keep=1)
    assert path.name == "step-000012.3"
    back = checkpoint.restore(path, model, optimizer)
    assert (back.step, back.update, back.kl_coef) == (12, 3, 0.02 * 1.1)
    assert back.tensors.keys() == tensors.keys()
    assert all(
        torch.equal(back.tensors[name], value) and back.tensors[name].dtype == value.dtype
        for name, value in tensors.items()
    )
    values = back.partial["values"]
    assert back.partial["means"] == partial["means"] and math.isnan(values.pop("kl"))
    assert values == {"lr": 1e-5 / 3, "gap": -math.inf, "tiny": 5e-324}


def test_only_the_newest_are_kept_in_the_order_of_training(tmp_path: Path) -> None:
    model, optimizer = train(1)
    for step, update in ((9, 0), (9, 2), (9, 10), (10, 0)):
        checkpoint.save(tmp_path, model, optimizer, LoopState(step=step, update=update), keep=3)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "step-000009.2",
        "step-000009.10",
        "step-000010",
    ]


def test_the_best_is_kept_however_old(tmp_path: Path) -> None:
    assert checkpoint.best(tmp_path) is None
    save(tmp_path, 1, keep=1, best=0.5)
    for step in (2, 3):
        save(tmp_path, step, keep=1)
    assert checkpoint.best(tmp_path) == (tmp_path / "step-000001", 0.5)
    checkpoint.mark_best(tmp_path, tmp_path / "step-000003", 0.75)
    save(tmp_path, 4, keep=1)
    assert names(tmp_path) == ["best.json", "step-000003", "step-000004"]


@pytest.mark.parametrize("target", ["step-000001/parameters.safetensors", "best.json"])
def test_a_damaged_best_is_set_aside_and_said(target: str, tmp_path: Path) -> None:
    save(tmp_path, 1, keep=1, best=0.5)
    save(tmp_path, 2, keep=1)
    (tmp_path / target).write_bytes(b"{")
    said: list[str] = []
    assert checkpoint.newest(tmp_path, said.append) == tmp_path / "step-000002"
    assert len(said) == 1 and "the best checkpoint is chosen anew" in said[0]
    assert checkpoint.best(tmp_path) is None


@pytest.mark.parametrize("spoil", [flip, truncate, Path.unlink])
@pytest.mark.parametrize(
    "name",
    ["parameters.safetensors", "moments.safetensors", "step.safetensors", "state.json", "checksums.json"],
)
def test_any_damage_is_noticed_named_and_stepped_over(
    spoil: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    model, optimizer = train(1)
    for step in (1, 2, 3):
        checkpoint.save(
            tmp_path, model, optimizer, LoopState(step, 1, 0.0, {"rewards": torch.ones(2)}), keep=3
        )
    said: list[str] = []
    spoil(tmp_path / "step-000003.1" / name)
    assert checkpoint.newest(tmp_path, said.append) == tmp_path / "step-000002.1"
    assert (
        len(said) == 1
        and said[0].startswith(f"{tmp_path / 'step-000003.1'}: {name}")
        and "going on from step-000002.1" in said[0]
    )
    assert names(tmp_path) == ["damaged-step-000003.1", "step-000001.1", "step-000002.1"]
    assert checkpoint.newest(tmp_path, said.append) == tmp_path / "step-000002.1" and len(said) == 1


def test_nothing_whole_means_to_start_anew_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    assert checkpoint.newest(tmp_path / "none yet", said.append) is None and said == []
    for step in (1, 2):
        flip(save(tmp_path, step) / "state.json")
    assert checkpoint.newest(tmp_path, said.append) is None
    assert len(said) == 2 and all("this stage starts anew" in line for line in said)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: tiny_gemma(vocabulary=260),
            "(259, 32) torch.float32 in this checkpoint and (260, 32) torch.float32 in the model",
        ),
        (
            lambda: tiny_gemma().double(),
            "(259, 32) torch.float32 in this checkpoint and (259, 32) torch.float64 in the model",
        ),
        (
            tiny_llama,
            "model.layers.0.self_attn.k_proj.weight is (8, 32) torch.float32 in this checkpoint and (16, 32)",
        ),
    ],
)
def test_the_checkpoint_of_another_model_is_refused(
    make: Callable[[], torch.nn.Module], sentence: str, tmp_path: Path
) -> None:
    path = save(tmp_path, 1)
    model = make()
    before = parameter_hash(model)
    with pytest.raises(InputError) as refusal:
        checkpoint.restore(path, model, Optimizer(model, OptimConfig(), num_updates=10))
    assert (
        sentence in str(refusal.value)
        and str(refusal.value).startswith(f"{path}: ")
        and parameter_hash(model) == before
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: Disk quota exceeded (os error 122)"),
    ],
)
def test_a_save_without_room_leaves_the_one_before_and_says_what_is_needed(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, keep=1)
    monkeypatch.setattr("grpo.runtime.checkpoint.save_file", Mock(side_effect=error))
    with pytest.raises(
        InputError,
        match=r"step-000002: .*it needs 0\.4 MB, .* MB are free.*step-000001 is intact; free space and run",
    ):
        save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-000001"]


def test_an_error_that_is_not_of_the_disk_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "grpo.runtime.checkpoint.save_file", Mock(side_effect=SafetensorError("invalid dtype"))
    )
    with pytest.raises(SafetensorError, match="invalid dtype"):
        save(tmp_path, 1)
    assert names(tmp_path) == []


def test_nonfinite_gradient_is_skipped_counted_and_in_the_end_fatal() -> None:
    model, optimizer = train(1)
    before = parameter_hash(model)
    for number in range(1, 5):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        optimizer.step()
        assert (optimizer.skipped, parameter_hash(model)) == (number, before)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(TrainingFailure, match="5 updates in a row"):
        optimizer.step()


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_learning_rate_by_hand(schedule: str, middle: float) -> None:
    config = OptimConfig(lr=2.0, schedule=schedule, warmup_steps=4)
    assert [learning_rate(config, update, 24) for update in (0, 1, 3)] == [0.5, 1.0, 2.0]
    assert learning_rate(config, 14, 24) == pytest.approx(2.0 * middle)
    assert learning_rate(config, 24, 24) == pytest.approx(2.0 if schedule == "constant" else 0.0)
    assert set(SCHEDULES) == {"constant", "linear", "cosine"}
