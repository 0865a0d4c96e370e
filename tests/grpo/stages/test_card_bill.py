"""The bill of an accelerator by hand, for invented ones; what a layer keeps is compared with what autograd
saves.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import initialise
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from grpo.config import Config, EngineConfig, ModelConfig, RolloutConfig, SFTConfig, TrainConfig
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.model import as_policy, packed_hidden
from grpo.engine.packing import Packed, pack
from grpo.engine.products import FORMATS
from grpo.runtime import device
from grpo.stages import plan
from grpo.stages.card_bill import (
    Card,
    ModelSizes,
    StepWork,
    activation_bytes,
    copy_rate,
    decode_seconds,
    memory_bill,
    training_seconds,
)

SIZES = ModelSizes(
    parameters=1000,
    embedding=200,
    vocabulary=50,
    layers=2,
    width=10,
    feed_forward=30,
    queries=8,
    keys=4,
)
WORK = StepWork(3, 2, 5, 7, 16, {"reference": True, "anchor": False})
CARD = Card(memory=100_000_000_000, product_rate=1e12, copy_rate=1e10)
CONFIG = Config(
    model=ModelConfig(max_prompt_tokens=100),
    sft=SFTConfig(num_steps=10, batch_size=4),
    rollout=RolloutConfig(num_prompts=4, group_size=8, max_new_tokens=50),
    train=TrainConfig(num_steps=5),
)


def test_parts_by_hand() -> None:
    """Three prompts of 5 and six completions of 7 tokens are 57 tokens; keys and values of a token are 2 x 2
    layers x 4 numbers. A layer keeps 18 bytes of 10 + 30 + 8 + 4 numbers. A chunk has 512 rows.
    """
    bill = memory_bill(SIZES, WORK, FORMATS["fp16"])
    models = {"weights": 4000, "moments": 8000, "reference": 4000, "anchor": 0}
    models |= {"format copies": 2000, "keys and values": 2 * 2 * 2 * 4 * 57}
    assert bill.rollout == models | {"logits": 4 * 4 * 6 * 50}
    assert bill.update == models | {
        "gradients": 4000,
        "activations": 16 * 2 * 18 * 52,
        "logits": 2 * 4 * 512 * 50 + 12 * 200,
    }
    assert bill.peak == 16_000 + 2000 + 1824 + 4000 + 29_952 + 207_200


@pytest.mark.parametrize(
    ("name", "copies", "number", "head"), [("fp32", 0, 4, 4), ("bf16", 2, 2, 12), ("bf16x2", 2, 4, 12)]
)
def test_number_formats_by_hand(name: str, copies: int, number: int, head: int) -> None:
    """Both pieces of bf16x2 are kept as one fp32 number."""
    bill = memory_bill(SIZES, WORK, FORMATS[name])
    assert bill.rollout["format copies"] == copies * 1000
    assert bill.rollout["keys and values"] == 2 * number * 2 * 4 * 57
    assert bill.update["logits"] == 2 * 4 * 512 * 50 + head * 200


def test_recomputed_layers_keep_their_inputs_and_one_layer() -> None:
    bill = memory_bill(SIZES, replace(WORK, recomputes=True), FORMATS["fp16"])
    assert bill.update["activations"] == 16 * (2 * 4 * 10 + 18 * 52)


def test_decode_step_by_hand() -> None:
    """Half way there are 3 x 5 + 6 x 3.5 tokens: 1,152 bytes, beside 2,000 of weights; two layers of .1 ms."""
    card = replace(CARD, copy_rate=1e4)
    assert decode_seconds(SIZES, WORK, FORMATS["fp16"], card) == pytest.approx(0.3152 + 2 * 1e-4)


def test_training_by_hand() -> None:
    """A fifth of the product rate, 3.5 % of it for a small model."""
    assert training_seconds(1e12, SIZES, CARD) == pytest.approx(1 / 0.035)
    assert training_seconds(1e12, replace(SIZES, parameters=10**9), CARD) == pytest.approx(5.0)


def card_plan(monkeypatch: pytest.MonkeyPatch, config: Config, card: Card = CARD) -> plan.Plan:
    monkeypatch.setattr(plan, "matmul_rate", lambda compute: card.product_rate)
    monkeypatch.setattr(plan, "measure_card", lambda compute, rate: replace(card, product_rate=rate))
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
    decoding = 5 * 50 * ((2 * 131e6 + keys) / 1e10 + 18 * 1e-4)
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
    assert "weights 0.52, moments 1.05, reference 0.52, format copies 0.26" in shown[place + 1]
    assert ", gradients 0.52, activations " in shown[place + 2] and "anchor" not in shown[place + 2]
    assert shown[place + 3].startswith("machine      about 1.5 GB at the peak: training 1.5 GB")
    small = card_plan(monkeypatch, config, replace(CARD, memory=1_000_000_000))
    assert any("more than it has: lower train.max_tokens_per_pass" in line for line in small.lines(config))


def test_the_largest_pass_is_no_larger_than_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """800 packed tokens of a step, 4 x (100 + 32) of an update of the warm start; limits of 2,048."""
    config = replace(CONFIG, run_dir=str(tmp_path))
    per_token = 18 * 18 * (640 + 2048 + 1024 + 256)
    bill = card_plan(monkeypatch, config).card
    assert bill is not None and bill.memory.update["activations"] == 800 * per_token
    longer = replace(config, sft=SFTConfig(num_steps=10, batch_size=10))
    bill = card_plan(monkeypatch, longer).card
    assert bill is not None and bill.memory.update["activations"] == 1320 * per_token
    bill = card_plan(monkeypatch, replace(config, engine=EngineConfig(gradient_checkpointing=True))).card
    assert bill is not None
    assert bill.memory.update["activations"] == 800 * (18 * 4 * 640 + per_token // 18)


def gemma(layers: int) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A quarter of the width of Gemma 3 270M."""
    settings = {"num_hidden_layers": layers, "hidden_size": 160, "intermediate_size": 512, "vocab_size": 300}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64}
    return initialise(lambda: Gemma3ForCausalLM(Gemma3TextConfig(**settings)), 0), settings


def qwen(layers: int) -> tuple[PreTrainedModel, dict[str, Any]]:
    """An eighth of the width of Qwen3 1.7B."""
    settings = {"num_hidden_layers": layers, "hidden_size": 256, "intermediate_size": 768, "vocab_size": 300}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    return initialise(lambda: Qwen3ForCausalLM(Qwen3Config(**settings)), 0), settings


def bytes_kept(model: PreTrainedModel, packed: Packed) -> int:
    """Of tensors that autograd saves in a forward pass, each memory counted once, parameters not."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, torch.Tensor] = {}

    def note(saved: torch.Tensor) -> torch.Tensor:
        found[saved.untyped_storage().data_ptr()] = saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        packed_hidden(model, packed)
    return sum(saved.untyped_storage().nbytes() for place, saved in found.items() if place not in own)


@pytest.mark.parametrize("make", [gemma, qwen])
@pytest.mark.parametrize("recomputes", [False, True])
def test_activations_are_what_autograd_saves(make: Any, recomputes: bool) -> None:
    """Of two layers more, so that nothing outside of layers counts."""
    packed = pack([[5] * 40] * 4, [[6] * 32] * 32, 8)
    tokens = packed.input_ids.shape[1]
    kept = []
    bills = []
    for layers in (1, 3):
        model, settings = make(layers)
        model = as_policy(model, torch.device("cpu"), format=FORMATS["fp16"])
        if recomputes:
            recompute_layers(model)
        work = StepWork(4, 8, 40, 32, tokens, {}, recomputes)
        bills.append(activation_bytes(ModelSizes.of(settings, 1000, 200), work))
        kept.append(bytes_kept(model, packed))
    assert bills[1] - bills[0] == pytest.approx(kept[1] - kept[0], rel=0.15)


def test_sizes_of_models_with_other_names_and_without_any() -> None:
    """GPT-2 has its own names; without any, 36 layers of 12 width^2 make up the body."""
    names = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 259}
    assert ModelSizes.of(names, 500, 100) == ModelSizes(500, 100, 259, 2, 32, 128, 32, 32)
    nothing = ModelSizes.of({}, 36 * 12 * 100**2 + 5000, 5000)
    assert (nothing.layers, nothing.width, nothing.vocabulary, nothing.keys) == (36, 100, 50, 100)


def test_a_rate_of_copying_is_measured() -> None:
    assert copy_rate(device.choose("cpu"), size=1 << 20, seconds=0.01) > 1e6


def test_peak_memory_is_the_resident_size_without_an_accelerator() -> None:
    compute = device.choose("cpu")
    assert device.accelerator_memory(compute) == 0
    device.release_memory(compute)
    assert device.peak_memory_bytes(compute) == device.peak_memory_bytes() > 50_000_000
