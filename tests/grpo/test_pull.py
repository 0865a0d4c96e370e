"""The pull to the start: closed forms, the minimum that it leads to, and the Fisher information by finite differences."""

import pytest
import torch
from tiny import tiny_gpt2
from tiny_layers import MODES, STEPS, backward, layers, split_layers, trained, values
from torch import nn

from grpo.config import OptimConfig
from grpo.engine.halves import ExactParameters
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.optim import Optimizer
from grpo.pull import Pull, squared_gradients, unit_mean

START = torch.tensor([1.0, 1.0, 0.3, -2.0])


def one_parameter() -> nn.Module:
    module = nn.Module()
    module.w = nn.Parameter(START.clone())
    return module


def test_a_pull_by_hand() -> None:
    """The rate .1 and the strength 10 halve the way back; F = 3 leaves a quarter, F = 0 every bit."""
    numbers = torch.tensor([3.0, 3.0, 0.7, 5.0])
    Pull({"w": START}, 10.0)("w", numbers, 0.1)
    assert torch.allclose(numbers, torch.tensor([2.0, 2.0, 0.5, 1.5]))
    numbers = torch.tensor([3.0, 3.0, 0.7, 5.0])
    Pull({"w": START}, 10.0, {"w": torch.tensor([1.0, 3.0, 0.0, 1e20])})("w", numbers, 0.1)
    assert torch.allclose(numbers[:2], torch.tensor([2.0, 1.5])) and numbers[2] == torch.tensor(0.7)
    assert numbers[3] == -2.0


@pytest.mark.parametrize("fisher", [{}, {"w": torch.tensor([0.1, 1.0, 3.0, 0.0])}])
def test_gradient_descent_ends_at_the_minimum_of_loss_and_penalty(fisher: dict[str, torch.Tensor]) -> None:
    """a / 2 (w - b)^2 + strength F / 2 (w - start)^2 has it at (a b + strength F start) / (a + strength F)."""
    a = torch.tensor([1.0, 2.0, 0.5, 1.0])
    b = torch.tensor([-1.0, 4.0, 2.0, 0.0])
    strength = 1.7
    model = one_parameter()
    config = OptimConfig(name="sgd", lr=0.1, max_grad_norm=0.0)
    optimizer = Optimizer(model, config, 300, protection=Pull({"w": START}, strength, fisher))
    for _ in range(300):
        (a / 2 * (model.w - b).square()).sum().backward()
        optimizer.step()
    stiffness = strength * fisher.get("w", torch.ones(4))
    assert torch.allclose(model.w.detach(), (a * b + stiffness * START) / (a + stiffness), atol=1e-5)


def test_under_a_steady_gradient_adamw_ends_one_over_the_strength_away() -> None:
    model = one_parameter()
    optimizer = Optimizer(model, OptimConfig(lr=0.01), 400, protection=Pull({"w": START}, 20.0))
    for _ in range(400):
        model.w.sum().backward()
        optimizer.step()
    assert torch.allclose(model.w.detach(), START - 1 / 20, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_optimiser_is_pulled(mode: str) -> None:
    """One step of each memory mode, and behind it the closed form."""
    config, engine = MODES[mode]
    model = layers()
    start = dict(zip(dict(model.named_parameters()), values(model), strict=True))
    if engine.weights == "split":
        split_layers(model)
    fisher = {"1.weight": torch.linspace(0, 5, 64 * 64).view(64, 64)}
    optimizer = Optimizer(model, config, STEPS, engine, Pull(start, 30.0, fisher))
    backward(model, 0)
    rate = optimizer.rate
    optimizer.step()
    free = ExactParameters(trained(mode, range(1))[0])
    for name, value in ExactParameters(model).items():
        stiffness = rate * 30.0 * fisher.get(name, torch.ones(()))
        expected = start[name].double() + (free[name].double() - start[name]) / (1 + stiffness)
        assert torch.allclose(value, expected.float(), rtol=1e-6, atol=1e-9)
        assert not torch.equal(value, free[name])


def test_squared_gradients_are_finite_differences() -> None:
    """Of log p of each text alone, then squared, then added up."""
    model = tiny_gpt2().double()
    rows = [pack([[2]], [ids], 1) for ids in ([40, 41, 42], [100, 7])]
    found = squared_gradients(model, rows)
    for name, place in (("transformer.h.0.attn.c_attn.weight", (3, 5)), ("transformer.wte.weight", (40, 2))):
        parameter = model.get_parameter(name)
        expected = 0.0
        for packed in rows:
            sides = []
            for shift in (1e-5, -2e-5):
                with torch.no_grad():
                    parameter[place] += shift
                    sides.append(float(completion_logps(model, packed).logps.sum()))
            with torch.no_grad():
                parameter[place] += 1e-5
            expected += ((sides[0] - sides[1]) / 2e-5) ** 2
        assert float(found[name][place]) == pytest.approx(expected, rel=1e-4) and expected > 0
    assert found["transformer.wte.weight"][200].abs().sum() > 0  # a softmax reaches every row of a tied head
    assert all(one.grad is None for one in model.parameters())


def test_the_mean_over_all_parameters_is_one() -> None:
    found = unit_mean({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[8.0], [0.0]])})
    assert found["a"].tolist() == pytest.approx([1 / 3, 1.0])
    assert found["b"].flatten().tolist() == pytest.approx([8 / 3, 0.0])
