"""How all parameters of a model are updated from their gradients: together, one after the other, or each as soon as
its gradient is there.

In the same formats all give the same bits; the first is the fastest, the others need less memory (docs/memory.md).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from grpo.config import EngineConfig, OptimConfig
from grpo.engine.halves import low_halves
from grpo.parameter_steps import ParameterStep, Protection, decay_of

Moments = Mapping[str, Mapping[str, Tensor]]  # by the name of the parameter, then that of the moment
Parameters = Mapping[str, nn.Parameter]
Shares = Mapping[str, float]  # of the learning rate, by the name of each parameter
EPSILON = 1e-6  # as of torch.nn.utils.clip_grads_with_norm_


class Updater(Protocol):
    """What updates all parameters of a model."""

    def last_pass(self, rate: float) -> AbstractContextManager[None]:
        """Around the last backward pass before `step`."""
        return nullcontext()

    def step(self, rate: float, max_norm: float) -> float:
        """Update by the gradients, cut to `max_norm` (0 = not cut), and let them go -> their norm. A gradient
        that is not finite updates nothing, and the norm shows it.
        """

    def moments(self) -> Moments:
        """The tensors of the optimiser's state, not copied."""

    def load_moments(self, moments: Moments) -> None:
        """Replace the moments by copies of these."""


def make_updater(
    model: nn.Module,
    parameters: Parameters,
    config: OptimConfig,
    engine: EngineConfig,
    protection: Protection,
    shares: Shares,
) -> Updater:
    """The updater that needs the least memory where a setting saves memory, else the fastest. Each calls `protection`
    behind the step of a parameter, whose learning rate is multiplied by its share.
    """
    low = low_halves(model)
    saves_memory = low or config.name != "adamw" or engine.gradients != "fp32" or engine.moments != "fp32"
    if not (engine.step_in_backward or saves_memory):
        return JointUpdater(parameters, config, protection, shares)
    steps = {
        name: ParameterStep(name, p, low.get(p), config, engine, protection, shares[name])
        for name, p in parameters.items()
    }
    return BackwardUpdater(steps) if engine.step_in_backward else SeparateUpdater(steps)


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """() norm of all gradients as one vector; squares of 16-bit gradients are added up in fp32."""
    if all(gradient.dtype.itemsize > 2 for gradient in gradients):
        norm = torch.nn.utils.get_total_norm(gradients)
    else:
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms))
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


class JointUpdater(Updater):
    """One AdamW over all parameters."""

    def __init__(self, parameters: Parameters, config: OptimConfig, protection: Protection, shares: Shares):
        self.parameters = parameters
        self.protection = protection
        self.shares = shares
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in parameters.items():
            groups.setdefault((decay_of(p, config), shares[name]), []).append(p)
        named_groups = [
            {"params": own, "weight_decay": decay, "share": share} for (decay, share), own in groups.items()
        ]
        betas = config.beta1, config.beta2
        self.adamw = torch.optim.AdamW(
            named_groups, lr=config.lr, betas=betas, eps=config.epsilon, fused=True
        )

    def step(self, rate: float, max_norm: float) -> float:
        norm = total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        if max_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), max_norm, norm)
        value = float(norm)
        if math.isfinite(value):
            for group in self.adamw.param_groups:
                group["lr"] = rate * group["share"]
            self.adamw.step()
            for name, parameter in self.parameters.items():
                self.protection(name, parameter.detach(), rate * self.shares[name])
        self.adamw.zero_grad(set_to_none=True)
        return value

    def moments(self) -> Moments:
        return {name: dict(self.adamw.state.get(p, {})) for name, p in self.parameters.items()}

    def load_moments(self, moments: Moments) -> None:
        self.adamw.state.clear()
        for name, parameter in self.parameters.items():
            if values := moments.get(name):
                self.adamw.state[parameter] = {
                    key: value.to(parameter.device).clone() for key, value in values.items()
                }


class SeparateUpdater(Updater):
    """Each parameter has an optimiser of its own, and they are updated one after the other."""

    def __init__(self, steps: Mapping[str, ParameterStep]):
        self.steps = steps

    def step(self, rate: float, max_norm: float) -> float:
        parameters = [step.parameter for step in self.steps.values()]
        norm = total_norm([p.grad for p in parameters if p.grad is not None])
        scale = torch.clamp(max_norm / (norm + EPSILON), max=1.0) if max_norm else None
        value = float(norm)
        for step in self.steps.values():
            if math.isfinite(value):
                step(rate, scale)
            step.parameter.grad = None
        return value

    def moments(self) -> Moments:
        return {name: step.moments() for name, step in self.steps.items()}

    def load_moments(self, moments: Moments) -> None:
        for name, step in self.steps.items():
            step.load_moments(moments.get(name, {}))


class BackwardUpdater(SeparateUpdater):
    """Updates each parameter in the last backward pass, as soon as its gradient is final, and lets the gradient go.

    One that is not finite leaves its own parameter as it is, and no other.
    """

    def __init__(self, steps: Mapping[str, ParameterStep]):
        super().__init__(steps)
        self.norms: dict[str, Tensor] = {}  # of the gradients of this update so far

    @contextmanager
    def last_pass(self, rate: float) -> Iterator[None]:
        hooks = [
            step.parameter.register_post_accumulate_grad_hook(partial(self._step, name, rate))
            for name, step in self.steps.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _step(self, name: str, rate: float, parameter: Tensor) -> None:
        if parameter.grad is None:
            return
        self.norms[name] = total_norm([parameter.grad])
        if math.isfinite(self.norms[name]):
            self.steps[name](rate)
        parameter.grad = None

    def step(self, rate: float, max_norm: float) -> float:
        """Update those that the last pass did not reach. No norm is known before, so `max_norm` is 0."""
        for name, step in self.steps.items():
            self._step(name, rate, step.parameter)
        norms = [self.norms[name] for name in self.steps if name in self.norms]
        self.norms.clear()
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
