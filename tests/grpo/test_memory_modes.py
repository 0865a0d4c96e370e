"""The memory modes of the optimiser: each gives the bits that it promises and takes the bytes that it promises."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import tiny_gemma, tiny_llama
from tiny_layers import (
    CONFIG,
    FREE,
    MODES,
    SGD,
    STEPS,
    AsFloat,
    are_equal,
    backward,
    have_equal,
    layers,
    numbers,
    set_gradients,
    split_layers,
    values,
)
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from data.errors import InputError, TrainingFailure
from grpo.config import EngineConfig, OptimConfig
from grpo.eight_bit import PIP_COMMAND
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.halves import low_halves
from grpo.optim import Optimizer, with_last
from grpo.parameter_steps import ParameterStep, no_protection
from grpo.updates import BackwardUpdater, JointUpdater, SeparateUpdater, total_norm


def test_the_plain_mode_is_one_fused_adamw_with_torchs_clipping() -> None:
    model, other = layers(), layers()
    optimizer = Optimizer(model, CONFIG, STEPS)
    matrices = [p for p in other.parameters() if p.dim() == 2]
    vectors = [p for p in other.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, betas=(CONFIG.beta1, CONFIG.beta2), fused=True)
    for step in range(STEPS):
        for each in (model, other):
            set_gradients(each, step)
        row = optimizer.step()
        norm = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        for group in adamw.param_groups:
            group["lr"] = row["lr"]
        adamw.step()
        assert row["grad_norm"] == float(norm) > 0.5
    assert isinstance(optimizer.updater, JointUpdater) and are_equal(values(model), values(other))


def test_halves_are_trained_to_the_bits_of_fp32_masters() -> None:
    """Weight decay, a schedule, clipping; most of the steps are far below half a step of bf16."""
    config = replace(CONFIG, lr=1e-4)
    model, plain = layers(), layers()
    split_layers(model)
    optimizers = [Optimizer(each, config, STEPS) for each in (model, plain)]
    before = values(plain)
    for step in range(STEPS):
        for each in (model, plain):
            set_gradients(each, step)
        rows = [optimizer.step() for optimizer in optimizers]
        assert rows[0] == rows[1] and are_equal(values(model), values(plain))
    assert len(low_halves(model)) == 2
    assert all((old != new).double().mean() > 0.99 for old, new in zip(before, values(plain), strict=True))
    moments = [optimizer.moments() for optimizer in optimizers]
    for name, state in moments[1].items():
        assert have_equal(moments[0][name], state) and state.keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_sgd_by_hand() -> None:
    model = layers()
    optimizer = Optimizer(model, replace(SGD, max_grad_norm=0.0, schedule="constant", warmup_steps=0), STEPS)
    before = [value.double() for value in values(model)]
    set_gradients(model, 0)
    gradients = [parameter.grad.double() for parameter in model.parameters() if parameter.grad is not None]
    optimizer.step()
    for old, gradient, new in zip(before, gradients, values(model), strict=True):
        decay = 0.1 if old.dim() == 2 else 0.0
        assert torch.allclose(new.double(), old - 0.01 * (gradient + decay * old), rtol=3e-7, atol=1e-9)
    assert optimizer.moments() == {name: {} for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", ["plain", "8bit", "split"])
def test_epsilon_by_hand(name: str) -> None:
    """The first step of AdamW moves a weight by lr g / (|g| + epsilon): with a large epsilon by lr g / epsilon."""
    config, engine = MODES[name]
    config = replace(
        config, epsilon=2.0, weight_decay=0.0, max_grad_norm=0.0, schedule="constant", warmup_steps=0, lr=0.1
    )
    model = layers()
    before = [value.double() for value in values(model)]
    if engine.weights == "split":
        split_layers(model)
    optimizer = Optimizer(model, config, STEPS, engine)
    set_gradients(model, 0)
    gradients = [parameter.grad.double() for parameter in model.parameters() if parameter.grad is not None]
    optimizer.step()
    for old, gradient, new in zip(before, gradients, values(model), strict=True):
        moved = 0.1 * gradient / (gradient.abs() + 2.0)
        assert torch.allclose(new.double(), old - moved, atol=1e-3 if name == "8bit" else 1e-6)


@pytest.mark.parametrize("name", ["plain", "sgd", "bf16 gradients", "8bit", "split"])
def test_a_norm_of_0_cuts_nothing_and_is_logged(name: str) -> None:
    """A limit that is never reached gives the same bits."""
    config, engine = MODES[name]
    models = [layers(), layers()]
    limits = (0.0, 1e6)
    for model in models if engine.weights == "split" else ():
        split_layers(model)
    optimizers = [
        Optimizer(model, replace(config, max_grad_norm=limit), STEPS, engine)
        for model, limit in zip(models, limits, strict=True)
    ]
    for step in range(3):
        for model in models:
            backward(model, step)
        rows = [optimizer.step() for optimizer in optimizers]
        assert rows[0] == rows[1] and rows[0]["grad_norm"] > 1
    assert are_equal(*map(values, models))


def test_gradients_in_bf16_are_added_up_in_bf16_and_the_update_is_fp32() -> None:
    config = replace(CONFIG, max_grad_norm=0.5)
    model, plain = layers(), layers()
    optimizer = Optimizer(model, config, STEPS, EngineConfig(gradients="bf16"))
    reference = Optimizer(plain, config, STEPS)
    for step in range(STEPS):
        for micro in (0, 1, 2):
            backward(model, 3 * step + micro)
        for place, (own, other) in enumerate(zip(model.parameters(), plain.parameters(), strict=True)):
            total = torch.zeros(own.numel(), dtype=torch.bfloat16)
            for micro in (0, 1, 2):
                total += numbers(100 * (3 * step + micro) + place)[: own.numel()].bfloat16()
            assert own.grad is not None and own.grad.dtype == torch.bfloat16
            assert torch.equal(own.grad.flatten(), total)
            other.grad = total.view(own.shape).float()
        rows = [each.step() for each in (optimizer, reference)]
        assert rows[0]["grad_norm"] == pytest.approx(rows[1]["grad_norm"], rel=1e-6)
    for own_value, other_value in zip(values(model), values(plain), strict=True):
        assert torch.allclose(own_value, other_value, rtol=1e-5, atol=1e-6)


def test_the_norm_of_bf16_gradients_is_not_rounded_to_bf16() -> None:
    gradients = [numbers(place).bfloat16() for place in range(3)]
    expected = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    norm = total_norm(gradients)
    assert norm.dtype == torch.float32 and float(norm) == pytest.approx(expected, rel=1e-6)
    assert abs(float(norm.bfloat16()) - expected) > 1e-4 * expected


def test_moments_of_8_bits_lead_nearly_where_those_of_fp32_do() -> None:
    """The two vectors have fp32 moments. A matrix moves by 0.2 and more, in all by its sum of 20 rates; the two
    paths end within a tenth of that.
    """
    model, plain = layers(), layers()
    start = values(plain)
    optimizers = [Optimizer(model, FREE, STEPS, EngineConfig(moments="8bit")), Optimizer(plain, FREE, STEPS)]
    for step in range(STEPS):
        for each in (model, plain):
            set_gradients(each, step)
        rows = [optimizer.step() for optimizer in optimizers]
        assert rows[0]["grad_norm"] == rows[1]["grad_norm"] or step
    moments = optimizers[0].moments()
    assert moments["0.weight"]["exp_avg.codes"].dtype == torch.uint8
    assert moments["0.weight"]["exp_avg_sq.scale"].shape == (4096 // 256,)
    assert moments["0.bias"].keys() == {"step", "exp_avg", "exp_avg_sq"}
    for old, own, other in zip(start, values(model), values(plain), strict=True):
        assert float((own - other).norm()) < 0.1 * float((other - old).norm())
        assert not torch.equal(own, other) or old.dim() == 1


def test_without_torchao_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchao.optim", None)
    with pytest.raises(
        InputError, match=r"^engine\.moments = '8bit' needs torchao.*: pip install 'torchao>="
    ) as e:
        Optimizer(layers(), CONFIG, STEPS, EngineConfig(moments="8bit"))
    assert str(e.value).endswith(PIP_COMMAND) and "\n" not in str(e.value)


def loss_of(model: Any, step: int) -> Tensor:
    result: Tensor = model(input_ids=torch.tensor([[2, 5 + step, 7, 50, 9]])).logits.square().mean()
    return result


def loss_of_embedding(model: Any, step: int) -> Tensor:
    """Reaches no other parameter."""
    result: Tensor = model.get_input_embeddings()(torch.tensor([5 + step])).square().mean()
    return result


def alive(model: nn.Module) -> int:
    """Bytes of all gradients."""
    return sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("losses", [[loss_of], [loss_of, loss_of], [loss_of, loss_of_embedding]])
def test_a_step_in_the_backward_pass_has_the_bits_of_one_after_it(
    make: Callable[[], Any], recomputes: bool, losses: list[Callable[[Any, int], Tensor]]
) -> None:
    """With a tied head and without; also where earlier passes have left gradients, and where the last pass gives
    most parameters none.
    """
    models = [make(), make()]
    engines = (EngineConfig(step_in_backward=True), EngineConfig())
    for model in models if recomputes else ():
        recompute_layers(model)
    optimizers = [Optimizer(model, FREE, 5, engine) for model, engine in zip(models, engines, strict=True)]
    for step in range(5):
        rows = []
        for model, optimizer in zip(models, optimizers, strict=True):
            for loss, is_last in with_last(losses):
                optimizer.backward(loss(model, 2 * step + is_last), is_last)
            rows.append(optimizer.step())
            assert alive(model) == 0
        assert rows[0] == rows[1] and rows[0]["grad_norm"] > 0
        assert are_equal(*map(values, models))
    assert isinstance(optimizers[0].updater, BackwardUpdater)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_of_all_gradients_one_is_alive_in_the_backward_pass(make: Callable[[], Any]) -> None:
    peaks = {}
    for in_backward in (False, True):
        model = make()
        sizes: list[int] = []
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda _, m=model, s=sizes: s.append(alive(m)))
        optimizer = Optimizer(model, FREE, 5, EngineConfig(step_in_backward=in_backward))
        optimizer.backward(loss_of(model, 0), is_last=True)
        optimizer.step()
        assert len(sizes) == len(list(model.parameters()))
        peaks[in_backward] = max(sizes)
    parameters = list(make().parameters())
    assert peaks[True] == max(p.nbytes for p in parameters)
    assert peaks[False] == sum(p.nbytes for p in parameters)


def test_in_the_backward_pass_a_gradient_that_is_not_finite_skips_its_own_parameter() -> None:
    model = layers()
    optimizer = Optimizer(model, FREE, STEPS, EngineConfig(step_in_backward=True))
    names = [name for name, _ in model.named_parameters()]
    for number in range(1, 6):
        before = values(model)
        loss = sum(parameter.square().sum() for parameter in model.parameters())
        poisoned = loss + model.get_parameter("0.bias").sum() * math.inf
        optimizer.backward(poisoned, is_last=True)
        if number < 5:
            row = optimizer.step()
            assert row["skipped_updates"] == number and not math.isfinite(row["grad_norm"])
        moved = [not torch.equal(a, b) for a, b in zip(before, values(model), strict=True)]
        assert dict(zip(names, moved, strict=True)) == {
            "0.weight": True, "0.bias": False, "1.weight": True, "1.bias": True,
        }  # fmt: skip
    with pytest.raises(TrainingFailure, match="5 updates in a row"):
        optimizer.step()
    assert optimizer.moments()["0.bias"] == {}


def bytes_of(model: nn.Module, optimizer: Optimizer) -> dict[str, int]:
    """What an optimiser's mode takes, after a backward pass: of parameters, gradients and state."""
    state = [value for moments in optimizer.moments().values() for value in moments.values()]
    return {
        "parameters": sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers()),
        "gradients": alive(model),
        "state": sum(value.nbytes for value in state if value.dim()),
    }


SCALES = 2 * 4 / 256  # bytes a number: an fp32 scale for each block of 256, for each moment


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("plain", (4, 4, 8)),
        ("sgd", (4, 4, 0)),
        ("bf16 gradients", (4, 2, 8)),
        ("8bit", (4, 4, 2 + SCALES)),
        ("split", (4, 4, 8)),
        ("in backward", (4, 0, 8)),
        ("in backward, all", (4, 0, 2 + SCALES)),
    ],
)
def test_bytes_a_number(name: str, each: tuple[float, ...]) -> None:
    """Of matrices, which nearly all numbers of a model are in. The map from code to value, 1 kB a moment, is not
    counted.
    """
    config, engine = MODES[name]
    model = nn.Sequential(nn.Linear(64, 128, bias=False), nn.Linear(128, 64, bias=False))
    if engine.weights == "split":
        split_layers(model)
    optimizer = Optimizer(model, config, STEPS, engine)
    total = sum(parameter.numel() for parameter in model.parameters())
    for _ in range(2):
        set_gradients_in(optimizer, model)
        found = bytes_of(model, optimizer)
        optimizer.step()
    maps = 2 * 2 * 1024 if engine.moments == "8bit" else 0
    assert tuple((found[key] - maps * (key == "state")) / total for key in found) == each
    assert found["gradients"] == 0 or alive(model) == 0


def set_gradients_in(optimizer: Optimizer, model: nn.Module) -> None:
    loss = sum(AsFloat.apply(parameter).square().sum() for parameter in model.parameters())
    optimizer.backward(torch.as_tensor(loss), is_last=True)


@pytest.fixture
def one_process() -> Iterator[None]:
    """A process group of this process alone, so that parameters can be sharded."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("config", [CONFIG, SGD])
def test_of_a_sharded_parameter_each_process_updates_its_share(
    config: OptimConfig, one_process: None
) -> None:
    model, plain = layers(), layers()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    ways = [
        SeparateUpdater(
            {
                name: ParameterStep(name, p, None, config, EngineConfig(), no_protection, 1.0)
                for name, p in each.named_parameters()
            }
        )
        for each in (model, plain)
    ]
    for step in range(5):
        norms = []
        for each, way in zip((model, plain), ways, strict=True):
            each(numbers(step).view(64, 64)).square().mean().backward()
            norms.append(way.step(1e-2, 0.01))
        assert norms[0] == norms[1] > 0.01
    states = [way.moments() for way in ways]
    for name, parameter in model.named_parameters():
        assert torch.equal(whole(parameter), plain.get_parameter(name))
        assert {key: is_sharded(value) for key, value in states[0][name].items()} == {
            key: key != "step" for key in states[1][name]
        }
        assert all(torch.equal(whole(value), states[1][name][key]) for key, value in states[0][name].items())
    doubled = {name: {key: 2 * value for key, value in state.items()} for name, state in states[1].items()}
    ways[0].load_moments(doubled)
    for name, state in ways[0].moments().items():
        assert have_equal({key: whole(value) for key, value in state.items()}, doubled[name])


def is_sharded(tensor: Tensor) -> bool:
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
