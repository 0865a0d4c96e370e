"""The bill of memory by hand, for invented models; activations are compared with what autograd saves, and whole
steps with the bytes of all tensors that are alive.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from invented_bill import SIZES, WORK
from live_bytes import LiveBytes, bytes_kept
from safetensors.torch import save_file
from tiny import byte_tokenizer, initialise
from tiny_session import CONFIG, EXAMPLES, Session, variety
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from data.prompt import Prompt
from grpo.config import Config, EngineConfig, OptimConfig, RolloutConfig, TrainConfig
from grpo.engine import sampler
from grpo.engine.forward import packed_hidden
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.model import as_policy
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, use_format
from grpo.engine.weight_forms import join_rows, split_weights
from grpo.stages.duration import step_work
from grpo.stages.memory_bill import (
    ModelSizes,
    StepWork,
    activation_bytes,
    candidates,
    cheapest_fit,
    memory_bill,
    metric_bytes,
    switches_in_words,
)

FP16 = FORMATS["fp16"]
LAYER = (10 + 2 * 8) * 10 + 14 * 30 + 6 * 8 + 4 * 4  # bytes of a token


@pytest.mark.parametrize(("tied", "trained"), [(True, 400), (False, 500)])
def test_lower_parameters_without_a_rate_have_neither_gradients_nor_moments(tied: bool, trained: int) -> None:
    """800 or 600 parameters in two layers, of which one is the lower third, rounded up; a head of its own has 200."""
    sizes = replace(SIZES, tied=tied)
    still = replace(WORK, fixes_lower=True)
    found = memory_bill(sizes, still, FP16)
    assert (found.update["gradients"], found.update["moments"]) == (4 * trained, 8 * trained)
    optim = OptimConfig(lower_lr_share=0.0)
    config = replace(Config(), train=replace(Config().train, optim=optim))
    assert not step_work(config, 0).fixes_lower
    assert step_work(replace(config, sft=replace(config.sft, num_steps=0)), 0).fixes_lower


def test_parts_by_hand() -> None:
    """Three prompts with room for 64 and six completions with room for 16 tokens are 288; keys and values of a token are
    2 x 2 layers x 4 numbers. The reference keeps 800 parameters in 16 bits and the embedding in fp32. A chunk has 512
    rows.
    """
    bill = memory_bill(SIZES, WORK, FP16)
    models = {"weights": 4000, "moments": 8000, "reference": 2 * 800 + 4 * 200, "anchor": 0}
    models |= {"format copies": 2000, "keys and values": 2 * 2 * 2 * 4 * 288, "whole layers": 0}
    assert bill.rollout == models | {"logits": 4 * 4 * 6 * 50}
    assert bill.update == models | {
        "gradients": 4000,
        "activations": 16 * 2 * LAYER,
        "logits": 2 * 4 * 512 * 50 + 8 * 200,
    }
    assert bill.peak == 12_000 + 2400 + 2000 + 9216 + 4000 + 16 * 2 * LAYER + 204_800 + 1600


@pytest.mark.parametrize(
    ("method", "models"),
    [("grpo", 1), ("sft", 0), ("best_of_group", 0), ("recovery", 1), ("self_distillation", 1)],
)
def test_methods_with_a_frozen_model_beside_the_policy(method: str, models: int) -> None:
    work = step_work(Config(train=TrainConfig(method=method)), 100)  # type: ignore[arg-type]
    assert memory_bill(SIZES, work, FP16).update["reference"] == models * (2 * 800 + 4 * 200)
    assert (work.group > 0) == (method != "sft")


@pytest.mark.parametrize(
    ("name", "copies", "number", "head"),
    [("fp32", 4, 4, 4), ("bf16", 2, 2, 6), ("bf16x2", 2, 4, 6), ("fp16", 2, 2, 8)],
)
def test_number_formats_by_hand(name: str, copies: int, number: int, head: int) -> None:
    """Both pieces of bf16x2 are kept as one fp32 number; weights have one piece."""
    bill = memory_bill(SIZES, replace(WORK, has_anchor=True), FORMATS[name])
    assert bill.rollout["format copies"] == copies * 1000
    assert bill.rollout["keys and values"] == 2 * number * 2 * 4 * 288
    assert bill.update["logits"] == 2 * 4 * 512 * 50 + head * 200
    assert bill.rollout["anchor"] == copies * 200
    assert bill.rollout["reference"] == copies * 800 + 4 * 200


@pytest.mark.parametrize(
    ("engine", "part", "size"),
    [
        ({"gradients": "bf16"}, "gradients", 2000),
        ({"moments": "8bit"}, "moments", 1000 * (2 + 8 / 256)),
        ({"step_in_backward": True}, "gradients", 0),
        ({"weights": "split"}, "weights", 4000),
        ({"weights": "split"}, "format copies", 2000),
        ({"frozen": "host"}, "reference", 2 * 2 * 400 + 4 * 200),
        ({"gradient_checkpointing": True}, "activations", 16 * (2 * 4 * 10 + LAYER)),
    ],
)
def test_modes_by_hand(engine: dict[str, Any], part: str, size: float) -> None:
    """A mode changes its own part and nothing else."""
    plain = memory_bill(SIZES, WORK, FP16)
    bill = memory_bill(SIZES, replace(WORK, engine=EngineConfig(**engine)), FP16)
    assert bill.update[part] == size
    assert {name: value for name, value in bill.update.items() if name != part} == {
        name: value for name, value in plain.update.items() if name != part
    }
    sgd = replace(WORK, engine=EngineConfig(**engine), optimizer="sgd")
    assert memory_bill(SIZES, sgd, FP16).update["moments"] == 0


@pytest.mark.parametrize(("kind", "size"), [("shield", 2 * 800), ("l2", 4 * 1000), ("ewc", 8 * 1000)])
def test_what_a_protection_stores_is_there_all_the_time(kind: str, size: float) -> None:
    plain = memory_bill(SIZES, WORK, FP16)
    bill = memory_bill(SIZES, replace(WORK, protection=kind), FP16)
    assert bill.rollout == {**plain.rollout, "protection": size}
    assert bill.update == {**plain.update, "protection": size}


def test_high_halves_are_read_in_place() -> None:
    """With products of bf16 only the head has a copy."""
    split = replace(WORK, engine=EngineConfig(weights="split"))
    assert memory_bill(SIZES, split, FORMATS["bf16"]).update["format copies"] == 2 * 200
    assert memory_bill(SIZES, split, FORMATS["bf16x2"]).update["format copies"] == 2 * 200


def test_an_own_head() -> None:
    """1,000 parameters, 200 of them an embedding and 200 a head."""
    untied = replace(SIZES, tied=False)
    bill = memory_bill(untied, WORK, FP16)
    assert bill.update["reference"] == 2 * (600 + 200) + 4 * 200
    assert bill.update["format copies"] == 2 * 800
    host = memory_bill(untied, replace(WORK, engine=EngineConfig(frozen="host")), FP16)
    assert host.update["reference"] == 2 * (2 * 300 + 200)


def test_four_processes_share_the_models() -> None:
    """A quarter of weights, moments, gradients and reference each; two whole layers and the embedding twice."""
    plain = memory_bill(SIZES, WORK, FP16)
    bill = memory_bill(SIZES, replace(WORK, processes=4), FP16)
    for part in ("weights", "moments", "gradients", "reference"):
        assert bill.update[part] == plain.update[part] / 4
    assert bill.update["whole layers"] == 4 * (2 * 400 + 2 * 200)


def test_the_cheapest_mode_that_fits() -> None:
    """Candidates come by their price."""
    order = [switches_in_words(EngineConfig(), engine) for engine in candidates(EngineConfig())]
    assert len(order) == len(set(order)) == 2**5 - 1
    assert order[:3] == [
        "engine.frozen=host",
        "engine.gradient_checkpointing=true",
        "engine.frozen=host engine.gradient_checkpointing=true",
    ]
    assert order[-1].endswith(" engine.weights=split engine.number_format=bf16")
    few = EngineConfig(moments="8bit")
    assert all("moments" not in switches_in_words(few, engine) for engine in candidates(few))
    peak = memory_bill(SIZES, WORK, FP16).peak
    saved = 2 * 800 - 2 * 2 * 400 + 16 * LAYER - 16 * 2 * 4 * 10
    found = cheapest_fit(SIZES, WORK, FP16, peak - 1)
    assert found is not None
    assert found[0] == "engine.gradient_checkpointing=true" and found[1].peak == peak - saved
    least = min(
        memory_bill(
            SIZES, replace(WORK, engine=engine), FORMATS["bf16" if engine.weights == "split" else "fp16"]
        ).peak
        for engine in candidates(EngineConfig())
    )
    found = cheapest_fit(SIZES, WORK, FP16, least)
    assert found is not None and found[1].peak == least
    assert cheapest_fit(SIZES, WORK, FP16, least - 1) is None


def gemma(layers: int) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A quarter of the width of Gemma 3 270M."""
    settings = {"num_hidden_layers": layers, "hidden_size": 160, "intermediate_size": 512, "vocab_size": 300}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64}
    model = initialise(lambda: Gemma3ForCausalLM(Gemma3TextConfig(**settings)), 0)
    return model, settings | {"model_type": "gemma3_text"}


def qwen(layers: int) -> tuple[PreTrainedModel, dict[str, Any]]:
    """An eighth of the width of Qwen3 1.7B."""
    settings = {"num_hidden_layers": layers, "hidden_size": 256, "intermediate_size": 768, "vocab_size": 300}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    model = initialise(lambda: Qwen3ForCausalLM(Qwen3Config(**settings)), 0)
    return model, settings | {"model_type": "qwen3"}


@pytest.mark.parametrize("make", [gemma, qwen])
@pytest.mark.parametrize("recomputes", [False, True])
def test_activations_are_what_autograd_saves(make: Any, recomputes: bool) -> None:
    """Of two layers more, so that nothing outside of layers counts. On a CPU the attention by blocks keeps more of
    queries and keys than the fused kernel of the bill.
    """
    packed = pack([[5] * 40] * 4, [[6] * 32] * 32, 8)
    tokens = packed.input_ids.shape[1]
    kept = []
    bills = []
    for layers in (1, 3):
        model, settings = make(layers)
        model = as_policy(model, torch.device("cpu"), format=FORMATS["fp16"])
        if recomputes:
            recompute_layers(model)
        work = StepWork(4, 8, 40, 32, tokens, engine=EngineConfig(gradient_checkpointing=recomputes))
        bills.append(activation_bytes(ModelSizes.of(settings, 1000, 200), work))
        kept.append(bytes_kept(model, partial(packed_hidden, model, packed)))
    assert bills[1] - bills[0] == pytest.approx(kept[1] - kept[0], rel=0.08)


def test_sizes_of_models_with_other_names_and_without_any() -> None:
    """GPT-2 has its own names; without any, 36 layers of 12 width^2 make up the body."""
    names = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 259}
    assert ModelSizes.of(names, 500, 100) == ModelSizes(500, 100, 259, 2, 32, 128, 32, 32)
    nothing = ModelSizes.of({}, 36 * 12 * 100**2 + 5000, 5000)
    assert (nothing.layers, nothing.width, nothing.vocabulary, nothing.keys) == (36, 100, 50, 100)


STEPS = {  # modes of a step, number format, settings of [engine], what the bill takes for the host's memory
    "plain": ("fp16", {}, "adamw"),
    "fp32": ("fp32", {}, "adamw"),
    "bf16 gradients, 8-bit moments": ("fp16", {"gradients": "bf16", "moments": "8bit"}, "adamw"),
    "split": ("bf16", {"weights": "split"}, "adamw"),
    "sgd on the host": ("fp16", {"frozen": "host"}, "sgd"),
    "recomputed layers": ("fp16", {"gradient_checkpointing": True}, "adamw"),
    "all": ("bf16", {"weights": "split", "gradients": "bf16", "moments": "8bit", "frozen": "host"}, "adamw"),
}
SETTINGS: dict[str, Any] = {"num_hidden_layers": 6, "hidden_size": 256, "intermediate_size": 768}
SETTINGS |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 2000}
PROMPT = 64  # tokens, as many as a slot has room for
NEW = 16
PASS_TOKENS = PROMPT + 4 * (NEW - 1)  # one group


def session_of(format: str, engine: EngineConfig, optimizer: str, folder: Path) -> Session:
    """GRPO of a random model of 5M parameters with several passes an update."""
    model = initialise(lambda: Qwen3ForCausalLM(Qwen3Config(**SETTINGS)), 0)
    if engine.weights == "split":
        use_format(model, FORMATS[format])
        split_weights(model)
        join_rows(model)
    policy = as_policy(model, torch.device("cpu"), format=FORMATS[format])
    if engine.gradient_checkpointing:
        recompute_layers(policy)
    optim = OptimConfig(name=optimizer, lr=1e-5)  # type: ignore[arg-type]
    config = replace(
        CONFIG,
        engine=engine,
        rollout=RolloutConfig(num_prompts=4, group_size=4, max_new_tokens=NEW, max_gap=100.0),
        train=TrainConfig(num_steps=2, max_tokens_per_pass=PASS_TOKENS, optim=optim),
    )
    tokenizer = byte_tokenizer()
    around = len(Prompt.of(tokenizer).encode_prompt(EXAMPLES[0])) - len(EXAMPLES[0].source)
    examples = [replace(one, source="x" * (PROMPT - around)) for one in EXAMPLES]
    return Session(config, folder, tokenizer, policy=policy, examples=examples, reward=variety)


@pytest.mark.parametrize(
    "name",
    [name if name in ("plain", "all") else pytest.param(name, marks=pytest.mark.slow) for name in STEPS],
)
def test_the_bill_of_a_step_is_what_a_step_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 5 %: bytes of all tensors that are alive, the sampler being the accelerator's; what lies on the host in
    the mode is taken off.
    """
    monkeypatch.setattr(sampler, "uses_graph", lambda model: True)
    format, settings, optimizer = STEPS[name]
    engine = EngineConfig(**settings)
    with LiveBytes() as live:
        session = session_of(format, engine, optimizer, tmp_path)
        session.run()
    parameters = sum(p.numel() for p in session.policy.parameters())
    embedding = session.policy.get_input_embeddings().weight.numel()
    sizes = ModelSizes.of(SETTINGS | {"model_type": "qwen3"}, parameters, embedding, tied=False)
    work = StepWork(4, 4, PROMPT, NEW, PASS_TOKENS, True, engine=engine, optimizer=optimizer)
    bill = memory_bill(sizes, work, FORMATS[format]).peak
    if engine.frozen == "host":
        bill += 2 * sizes.body + 4 * embedding
    assert live.peak == pytest.approx(bill, rel=0.05)


def test_learned_metrics_are_in_the_bill(tmp_path: Path) -> None:
    """Bytes by hand: 6 and 10 parameters in fp32; training asks one of them, the evaluation both."""
    folders = {}
    for name, rows in (("small", 3), ("large", 5)):
        folders[name] = str(tmp_path / name)
        (tmp_path / name).mkdir()
        save_file({"weight": torch.zeros(rows, 2)}, tmp_path / name / "model.safetensors")
    reward = replace(Config().reward, metrics=folders, weights={"small": 1.0})
    config = replace(Config(), reward=reward)
    assert [metric_bytes(config, in_training=one) for one in (True, False)] == [24, 64]
    watched = replace(config, eval=replace(config.eval, every=1, best_by="large"))
    assert metric_bytes(watched, in_training=True) == 64
    single = replace(watched, reward=replace(reward, one_metric_at_a_time=True))
    assert metric_bytes(single, in_training=False) == 40
    plain = memory_bill(SIZES, WORK, FP16)
    bill = memory_bill(SIZES, replace(WORK, metrics=24, evaluation_metrics=64), FP16)
    assert sum(bill.update.values()) == sum(plain.update.values()) + 24
    assert bill.evaluation == {"weights": plain.update["weights"], "metrics": 64}
    assert "metrics" not in plain.update and plain.evaluation == {}
    huge = memory_bill(SIZES, replace(WORK, evaluation_metrics=1e15), FP16)
    assert huge.peak == 1e15 + plain.update["weights"]
    assert any(line.startswith("  evaluation") for line in huge.lines(10**9))
