"""One model over several processes: each holds its share of every parameter, gradient and moment.

torch's own FSDP2 (`fully_shard`, arXiv 2304.11277): the parameters of a layer are gathered when the layer runs, and
freed behind it; its gradient is added up over the processes and cut into shares. Gathered parameters have the type
of the shares. A mixed-precision policy would halve what travels, but autograd gives a 16-bit parameter a 16-bit
gradient, so the products of the backward pass would be rounded as they are not in one process; in fp16 they would
also underflow. Norms and other small vectors are fp32 in every format.

Each process must run the same passes in the same order: a gather waits for all of them.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from grpo.engine.private_apis import layers_of

T = TypeVar("T")
METHOD = "run_function"  # of a sharded model: runs a function as a forward pass
PROCESSES = "processes"  # of a sharded model: those that hold its shares


class Processes(Protocol):
    """What sharding needs of grpo.runtime.parallel.World."""

    @property
    def size(self) -> int: ...

    @property
    def is_sharded(self) -> bool: ...

    def any(self, flag: bool) -> bool: ...

    def largest(self, values: Mapping[str, float]) -> dict[str, float]: ...

    def in_step(self, passes: list[list[int]]) -> list[list[int]]: ...


def shard(model: PreTrainedModel, world: Processes | None, device: torch.device | None = None) -> None:
    """From now on each process holds its share of the parameters of `model`; nothing where the world is not
    sharded. A gradient is the sum over the processes.

    `device`: that of this process, where the model is not on it yet. An empty model stays empty; a layer on the host
    goes there when it is cut, one after the other.
    """
    if world is None or not world.is_sharded:
        return
    mesh = init_device_mesh((device or model.device).type, (world.size,))
    modules: list[Any] = [*layers_of(model), model]
    for module in modules:
        fully_shard(module, mesh=mesh)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no other one
    setattr(model, METHOD, lambda function, *inputs: function(model, *inputs))
    register_fsdp_forward_method(model, METHOD)
    setattr(model, PROCESSES, world)


def is_sharded(model: PreTrainedModel) -> bool:
    return isinstance(model, FSDPModule)


def run_in(model: PreTrainedModel, function: Callable[..., T], *inputs: Any) -> T:
    """`function(model, *inputs)` as a forward pass of the model, whose parameters outside of its layers are whole
    inside. The function gives a tensor or several; none of them may be a parameter.
    """
    if not is_sharded(model):
        return function(model, *inputs)
    has_gradient = torch.is_grad_enabled()
    sharded_model: Any = model
    with torch.inference_mode(False), torch.set_grad_enabled(has_gradient):
        result: T = getattr(model, METHOD)(function, *inputs)
    if not has_gradient:  # else the backward pass does it
        sharded_model.reshard()
    return result


def any_process(model: PreTrainedModel, flag: bool) -> bool:
    """Is the flag set here or, of a sharded model, in another process that holds a share?"""
    return processes_of(model).any(flag) if is_sharded(model) else flag


def in_step(model: PreTrainedModel, passes: list[list[int]]) -> list[list[int]]:
    """Passes of this process, of a sharded model filled up by empty ones to as many as another process has."""
    return processes_of(model).in_step(passes) if is_sharded(model) else passes


def processes_of(model: PreTrainedModel) -> Processes:
    """Those that hold the shares of a sharded model."""
    found: Processes = getattr(model, PROCESSES)
    return found


def gradient(model: PreTrainedModel, value: Tensor, parameter: nn.Parameter) -> Tensor:
    """d value / d parameter, whole; of a sharded model the mean over the processes."""
    if not is_sharded(model):
        return torch.autograd.grad(value, parameter)[0]
    (value / processes_of(model).size).backward()
    assert parameter.grad is not None
    result = whole(parameter.grad)
    model.zero_grad()
    return result


def is_share(parameter: Tensor) -> bool:
    return isinstance(parameter, DTensor)


def own_share(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter: all of it where it is not shared out."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def own_rows(parameter: Tensor) -> slice:
    """The rows of a parameter that this process holds: those of its part in `torch.chunk`. The last shares may be
    smaller, or empty.
    """
    if not isinstance(parameter, DTensor):
        return slice(None)
    mesh = parameter.device_mesh
    rows = parameter.shape[0]
    most = -(-rows // mesh.size())
    first = min(mesh.get_local_rank() * most, rows)
    return slice(first, min(first + most, rows))


@torch.inference_mode(False)
@torch.no_grad()
def whole(parameter: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A parameter as one tensor on this device; the shares travel as `dtype`, by default as they are. All processes
    call it. Without shares it is the parameter itself.
    """
    if not isinstance(parameter, DTensor):
        return parameter
    shares: DTensor = parameter.to(dtype or parameter.dtype)  # type: ignore[assignment]
    return shares.full_tensor()


def with_weight(module: nn.Embedding, weight: Tensor) -> nn.Embedding:
    """A copy of an embedding that looks up in this weight."""
    return copy.deepcopy(module, {id(module.weight): nn.Parameter(weight, requires_grad=False)})
