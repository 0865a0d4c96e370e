"""Checkpoints of every memory mode of the optimiser: exact, exact from mode to mode where moments are fp32, else refused."""

from pathlib import Path

import pytest
from tiny_layers import MODES, are_equal, backward, have_equal, trained, values

from data.errors import InputError
from grpo.records import LoopState
from grpo.runtime import checkpoint


@pytest.mark.parametrize("name", MODES)
def test_a_checkpoint_gives_every_mode_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, optimizer = trained(name, range(3))
    path = checkpoint.save(tmp_path, model, optimizer, LoopState(step=3), keep=1)
    other, fresh = trained(name, range(7, 9))  # to be overwritten
    checkpoint.restore(path, other, fresh)
    for step in range(3, 6):
        states = [each.moments() for each in (optimizer, fresh)]
        assert all(have_equal(states[1][parameter], state) for parameter, state in states[0].items())
        assert are_equal(values(model), values(other)) and optimizer.update == fresh.update == step
        for each, its_optimizer in ((model, optimizer), (other, fresh)):
            backward(each, step)
            its_optimizer.step()


@pytest.mark.parametrize(
    ("there", "here"),
    [("plain", "split"), ("split", "plain"), ("plain", "in backward"), ("bf16 gradients", "split")],
)
def test_moments_in_fp32_go_from_mode_to_mode_exactly(there: str, here: str, tmp_path: Path) -> None:
    model, optimizer = trained(there, range(3))
    path = checkpoint.save(tmp_path, model, optimizer, LoopState(step=3), keep=1)
    other, fresh = trained(here, range(7, 8))
    checkpoint.restore(path, other, fresh)
    assert are_equal(values(model), values(other))
    assert all(have_equal(fresh.moments()[name], state) for name, state in optimizer.moments().items())


@pytest.mark.parametrize(
    ("there", "here", "setting"),
    [
        ("sgd", "plain", 'optim.name = "sgd"'),
        ("8bit", "split", 'engine.moments = "8bit"'),
        ("plain", "8bit", 'optim.name = "adamw" and engine.moments = "fp32"'),
        ("split", "sgd", 'optim.name = "adamw" and engine.moments = "fp32"'),
    ],
)
def test_moments_of_another_kind_are_refused(there: str, here: str, setting: str, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, *trained(there, range(2)), LoopState(step=2), keep=1)
    with pytest.raises(InputError) as refusal:
        checkpoint.restore(path, *trained(here, range(1)))
    assert str(refusal.value) == (
        f"{path}: its moments were made with {setting}; restore that setting, or delete {tmp_path} to start this stage anew"
    )
