"""The bill of an accelerator by hand, for invented ones; what a layer keeps is compared with what autograd
saves.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from invented_bill import CONFIG, SIZES, WORK

from grpo.config import Config, EngineConfig, SFTConfig, TrainConfig
from grpo.engine.products import FORMATS
from grpo.runtime import device
from grpo.stages import plan
from grpo.stages.machine import Machine, copy_rate

CARD = Machine(1e12, FORMATS["fp16"], memory=100_000_000_000, copy_rate=1e10)


def test_decode_step_by_hand() -> None:
    """Half way there are 3 x 5 + 6 x 3.5 tokens: 1,152 bytes, beside 2,000 of weights; two layers of .05 ms."""
    card = replace(CARD, copy_rate=1e4)
    assert card.token_seconds(SIZES, WORK) == pytest.approx(0.3152 + 2 * 5e-5)


def test_training_by_hand() -> None:
    """A fifth of the product rate, 3.5 % of it for a small model; an update has a least time, 8 ms a layer."""
    assert CARD.training_seconds(1e12, SIZES) == pytest.approx(1 / 0.035)
    assert CARD.training_seconds(1e12, SIZES, updates=10) == pytest.approx(1 / 0.035)
    assert CARD.training_seconds(1e12, SIZES, updates=5000) == pytest.approx(5000 * 2 * 8e-3)
    assert CARD.training_seconds(1e12, replace(SIZES, parameters=10**9)) == pytest.approx(5.0)


def card_plan(monkeypatch: pytest.MonkeyPatch, config: Config, card: Machine = CARD) -> plan.Plan:
    monkeypatch.setattr(Machine, "of", lambda compute: card)
    return plan.make_plan(config, None, device.Compute(torch.device("cuda"), FORMATS["fp16"]))


def test_time_of_a_run_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of 40 tokens, completions of 20, up to 50. 131M parameters, 31M of them the head; 18 layers; a key
    and a value of 256 numbers.
    """
    config = replace(CONFIG, run_dir=str(tmp_path))
    pair = 6 * (100e6 * 60 + 31e6 * 20)
    updates = 2 * 4 * (100e6 * 800 + 31e6 * 640)
    training = (10 * 4 * pair + 5 * updates) / (0.035 * 1e12)
    keys = 2 * 2 * 18 * 256 * (4 * 40 + 32 * 25)
    decoding = 5 * 50 * ((2 * 131e6 + keys) / 1e10 + 18 * 5e-5)
    assert card_plan(monkeypatch, config).seconds == pytest.approx(training + decoding)
    imitation = replace(config, train=TrainConfig(num_steps=5, method="sft"))
    seconds = (10 * 4 * pair + 5 * 4 * pair) / (0.035 * 1e12)
    assert card_plan(monkeypatch, imitation).seconds == pytest.approx(seconds)


def test_lines_name_the_parts_and_what_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, run_dir=str(tmp_path))
    bill = card_plan(monkeypatch, config)
    assert bill.card is not None
    peak = bill.card.memory.peak
    shown = bill.lines(config)
    place = next(number for number, line in enumerate(shown) if line.startswith("memory"))
    assert shown[place] == f"memory       about {peak / 1e9:.1f} GB of the accelerator's 100.0 GB"
    assert "weights 0.52, moments 1.05, reference 0.32, format copies 0.26" in shown[place + 1]
    assert ", gradients 0.52, activations " in shown[place + 2] and "anchor" not in shown[place + 2]
    assert shown[place + 3].startswith("machine      about 1.5 GB at the peak: training 1.5 GB")
    small = card_plan(monkeypatch, config, replace(CARD, memory=1_000_000_000))
    assert any(
        "in any memory mode (docs/memory.md); take a smaller model" in line for line in small.lines(config)
    )
    middle = card_plan(monkeypatch, config, replace(CARD, memory=int(0.99 * peak)))
    assert any(line.endswith("GB with engine.gradient_checkpointing=true") for line in middle.lines(config))


def test_the_largest_pass_is_no_larger_than_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """800 packed tokens of a step, 4 x (100 + 32) of an update of the warm start; limits of 2,048."""
    config = replace(CONFIG, run_dir=str(tmp_path))
    layer = (10 + 4 * 8) * 640 + 14 * 2048 + (6 + 8) * 1024 + (4 + 8) * 256
    per_token = 18 * layer
    bill = card_plan(monkeypatch, config).card
    assert bill is not None and bill.memory.update["activations"] == 800 * per_token
    longer = replace(config, sft=SFTConfig(num_steps=10, batch_size=10))
    bill = card_plan(monkeypatch, longer).card
    assert bill is not None and bill.memory.update["activations"] == 1320 * per_token
    bill = card_plan(monkeypatch, replace(config, engine=EngineConfig(gradient_checkpointing=True))).card
    assert bill is not None
    assert bill.memory.update["activations"] == 800 * (18 * 4 * 640 + layer)


def test_a_rate_of_copying_is_measured() -> None:
    assert copy_rate(device.choose("cpu"), size=1 << 20, seconds=0.01) > 1e6


def test_peak_memory_is_the_resident_size_without_an_accelerator() -> None:
    compute = device.choose("cpu")
    assert device.accelerator_memory(compute) == 0
    device.release_memory(compute)
    assert device.peak_memory_bytes(compute) == device.peak_memory_bytes() > 50_000_000
