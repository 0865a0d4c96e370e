"""Checkpoints: exact, atomic, and only the newest kept."""

from pathlib import Path

import pytest
import torch
from tiny import tiny_gemma

from grpo import checkpoint
from grpo.config import OptimConfig
from grpo.optim import SCHEDULES, Optimizer, learning_rate
from grpo.policy import parameter_hash
from grpo.records import LoopState


def trained(steps: int) -> tuple[torch.nn.Module, Optimizer]:
    model = tiny_gemma()
    optimizer = Optimizer(model, OptimConfig(lr=1e-3), num_updates=10)
    for step in range(steps):
        model(input_ids=torch.tensor([[2, 5 + step, 7]])).logits.square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_round_trip_is_exact_and_training_goes_on_equally(tmp_path: Path) -> None:
    model, optimizer = trained(3)
    checkpoint.save(tmp_path, model, optimizer, LoopState(step=3), keep=2)
    other, fresh = tiny_gemma(seed=9), None
    fresh = Optimizer(other, OptimConfig(lr=1e-3), num_updates=10)
    assert checkpoint.restore(checkpoint.checkpoints(tmp_path)[-1], other, fresh) == LoopState(step=3)
    for m, o in ((model, optimizer), (other, fresh)):
        m(input_ids=torch.tensor([[2, 50, 7]])).logits.square().mean().backward()
        o.step()
    assert parameter_hash(model) == parameter_hash(other)
    assert fresh.update == 4


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    model, optimizer = trained(1)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, model, optimizer, LoopState(step=step), keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000002", "step-000003"]


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = trained(1)
    checkpoint.save(tmp_path, model, optimizer, LoopState(step=1), keep=1)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("grpo.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, model, optimizer, LoopState(step=2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_nonfinite_gradient_is_skipped_counted_and_in_the_end_fatal() -> None:
    model, optimizer = trained(1)
    before = parameter_hash(model)
    for number in range(1, 5):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        optimizer.step()
        assert (optimizer.skipped, parameter_hash(model)) == (number, before)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(FloatingPointError, match="5 updates running"):
        optimizer.step()


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_learning_rate_by_hand(schedule: str, middle: float) -> None:
    config = OptimConfig(lr=2.0, schedule=schedule, warmup_steps=4)
    assert [learning_rate(config, update, 24) for update in (0, 1, 3)] == [0.5, 1.0, 2.0]
    assert learning_rate(config, 14, 24) == pytest.approx(2.0 * middle)
    assert learning_rate(config, 24, 24) == pytest.approx(2.0 if schedule == "constant" else 0.0)
    assert set(SCHEDULES) == {"constant", "linear", "cosine"}
