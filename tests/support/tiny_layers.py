"""Two small layers with made-up gradients, in every memory mode of the optimiser."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from grpo.config import EngineConfig, OptimConfig
from grpo.engine.halves import LOW, ExactParameters, split
from grpo.optim import Optimizer

CONFIG = OptimConfig(lr=1e-2, schedule="cosine", warmup_steps=3, weight_decay=0.1, max_grad_norm=0.5)
FREE = replace(CONFIG, max_grad_norm=0.0)
STEPS = 20
SGD = replace(CONFIG, name="sgd")
MODES = {
    "plain": (CONFIG, EngineConfig()),
    "sgd": (SGD, EngineConfig()),
    "bf16 gradients": (CONFIG, EngineConfig(gradients="bf16")),
    "8bit": (CONFIG, EngineConfig(moments="8bit")),
    "in backward": (FREE, EngineConfig(step_in_backward=True)),
    "in backward, all": (FREE, EngineConfig(step_in_backward=True, gradients="bf16", moments="8bit")),
    "split": (CONFIG, EngineConfig(weights="split")),
}


def split_layers(model: nn.Module) -> None:
    """Keep the weight of every linear layer as two halves, as engine.weights = "split" does."""
    for module in list(model.modules()):
        if type(module) is nn.Linear:
            high, low = split(module.weight.detach())
            module.weight = nn.Parameter(high)
            module.register_buffer(LOW, low)


def numbers(seed: int) -> Tensor:
    """(4096,) of a normal distribution whose size goes from 1e-4 to 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4096, generator=generator) * torch.logspace(-4, 0, 4096)


def set_gradients(model: nn.Module, step: int) -> None:
    """Made-up gradients, the same for a model and for one of the same shapes in other formats."""
    for place, parameter in enumerate(model.parameters()):
        parameter.grad = numbers(100 * step + place)[: parameter.numel()].view(parameter.shape)


def layers() -> nn.Module:
    """Two matrices and two vectors; of 4,096 numbers torchao keeps the moments in 8 bits."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(numbers(1000 + place)[: parameter.numel()].view(parameter.shape))
    return model


def values(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in ExactParameters(model).values()]


def are_equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def have_equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[key], others[key]) for key in others)


def backward(model: nn.Module, step: int) -> None:
    """The gradients of `set_gradients` from a backward pass, in the type that each parameter asks for."""
    loss = torch.zeros(())
    for place, parameter in enumerate(model.parameters()):
        gradient = numbers(100 * step + place)[: parameter.numel()].view(parameter.shape)
        loss = loss + (AsFloat.apply(parameter) * gradient).sum()
    loss.backward()


class AsFloat(torch.autograd.Function):
    """A parameter of any type in fp32; its gradient arrives in fp32, as from a layer in halves."""

    @staticmethod
    def forward(_ctx: Any, parameter: Tensor) -> Tensor:
        return parameter.float()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def trained(name: str, steps: range) -> tuple[nn.Module, Optimizer]:
    """A model after updates of a mode, and its optimiser."""
    config, engine = MODES[name]
    model = layers()
    if engine.weights == "split":
        split_layers(model)
    optimizer = Optimizer(model, config, STEPS, engine)
    for step in steps:
        backward(model, step)
        optimizer.step()
    return model, optimizer
