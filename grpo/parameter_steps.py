"""The optimiser of one parameter: a torch optimiser that sees the parameter's exact numbers in fp32.

An optimiser treats every number by itself, so the bits are those of one optimiser over all parameters. What an
update needs and training does not is there for one parameter at a time: the fp32 numbers of a weight in halves
(grpo/engine/halves.py), and the fp32 copy of a gradient that was added up in bf16. Of a parameter that is sharded
over processes each updates its share.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from grpo.config import EngineConfig, OptimConfig
from grpo.eight_bit import adamw_8bit, parts
from grpo.engine.halves import join, split
from grpo.engine.sharding import own_share

# changes the exact numbers of a parameter in place behind its step: (its name, numbers, learning rate)
Protection = Callable[[str, Tensor, float], None]


def no_protection(_name: str, _exact: Tensor, _rate: float) -> None:
    """Leaves a parameter where its optimiser has put it."""


def decay_of(parameter: Tensor, config: OptimConfig) -> float:
    """Weight decay is for matrices only."""
    return config.weight_decay if parameter.dim() >= 2 else 0.0


def optimiser_of(
    exact: nn.Parameter, parameter: Tensor, config: OptimConfig, moments: str
) -> torch.optim.Optimizer:
    """The torch optimiser of a parameter, which it knows as `exact`. Weight decay is torch's own: SGD without momentum
    subtracts lr x decay x parameter, which is the decoupled decay of AdamW.
    """
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": decay_of(parameter, config)}
    if config.name == "sgd":
        return torch.optim.SGD([exact], **settings, fused=True)
    settings |= {"betas": (config.beta1, config.beta2), "eps": config.epsilon}
    if moments == "8bit":
        return adamw_8bit(exact, parameter.numel(), **settings)
    return torch.optim.AdamW([exact], **settings, fused=True)


class ParameterStep:
    """A parameter, the low half of its numbers where it is split, its optimiser, what protects it by its name, and its
    share of the learning rate.

    The optimiser knows the parameter as `exact`, which has the exact numbers during a step; between steps it is
    the parameter itself, or empty where that is split.
    """

    def __init__(
        self,
        name: str,
        parameter: nn.Parameter,
        low: Tensor | None,
        config: OptimConfig,
        engine: EngineConfig,
        protection: Protection,
        share: float,
    ):
        self.parameter = parameter
        self.name = name
        self.protection = protection
        self.share = share
        self.low = None if low is None else own_share(low)
        self.exact = nn.Parameter(self._between_steps())
        self.optimiser = optimiser_of(self.exact, parameter, config, engine.moments)
        if engine.gradients == "bf16":
            parameter.grad_dtype = torch.bfloat16
        elif low is not None:
            parameter.grad_dtype = torch.float32

    def _between_steps(self) -> Tensor:
        own = own_share(self.parameter.detach())
        return own if self.low is None else torch.empty(0, device=own.device)

    @torch.no_grad()
    def __call__(self, rate: float, scale: Tensor | None = None) -> None:
        """Update the parameter by its gradient, times `scale`, and let the gradient go; `rate` counts by its share."""
        gradient = self.parameter.grad
        if gradient is None:
            return
        rate = rate * self.share
        self.parameter.grad = None
        own = own_share(self.parameter.detach())
        exact = own if self.low is None else join(own, self.low)
        gradient = own_share(gradient).to(exact.dtype)
        self._step(exact, gradient if scale is None else gradient.mul_(scale), rate)
        self.protection(self.name, exact, rate)
        if self.low is not None:
            high, low = split(exact)
            own.copy_(high)
            self.low.copy_(low)

    def _step(self, exact: Tensor, gradient: Tensor, rate: float) -> None:
        self.exact.data = exact
        self.exact.grad = gradient
        set_rate(self.optimiser, rate)
        self.optimiser.step()
        self.exact.grad = None
        self.exact.data = self._between_steps()

    def moments(self) -> dict[str, Tensor]:
        """The tensors of the optimiser's state by name; none before the first step."""
        state = self.optimiser.state.get(self.exact, {})
        tensors = {key: part for name, moment in state.items() for key, part in parts(name, moment).items()}
        return {key: sharded_like(self.parameter, value) for key, value in tensors.items()}

    @torch.no_grad()
    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Replace the moments by copies of these; none: as before the first step."""
        self.optimiser.state.clear()
        if not moments:
            return
        like = own_share(self.parameter) if self.low is None else self.low.float()
        self._step(torch.zeros_like(like), torch.zeros_like(like), 0.0)  # makes a state to be written over
        for name, value in self.moments().items():
            own_share(value).copy_(own_share(moments[name]))


def sharded_like(parameter: Tensor, share: Tensor) -> Tensor:
    """A share of a moment as a tensor that is sharded as its parameter is; all else as it is."""
    if not isinstance(parameter, DTensor) or share.shape != parameter.to_local().shape:
        return share
    return DTensor.from_local(
        share,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, which torchao keeps in a tensor."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
