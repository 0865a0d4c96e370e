"""Counts what a process sends to the others: the bytes of gathers and sums as torch hands them to the backend."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GATHERS = {"c10d::_allgather_base_": 0, "_c10d_functional::all_gather_into_tensor": None}
SUMS = {"c10d::_reduce_scatter_base_": 1}  # which argument is the whole; of the others the result is
TOTALS = {"c10d::allreduce_": 0}


class Wire(TorchDispatchMode):
    """Inside, `sent` grows by what a ring of `size` processes makes this one send, for gathers of weights, sums of
    gradients into shares, and sums for all.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.gathered = 0
        self.added_up = 0
        self.totals = 0

    @property
    def in_shares(self) -> float:
        return (self.size - 1) / self.size * (self.gathered + self.added_up)

    @property
    def for_all(self) -> float:
        return 2 * (self.size - 1) / self.size * self.totals

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.name()
        if name in GATHERS:
            place = GATHERS[name]
            self.gathered += (result if place is None else args[place]).nbytes
        elif name in SUMS:
            self.added_up += args[SUMS[name]].nbytes
        elif name in TOTALS:
            tensors = [x for x in tree_leaves(args[0]) if isinstance(x, Tensor)]
            self.totals += sum(
                x.nbytes for x in tensors if x.dtype == torch.float32
            )  # numbers of the log have 64
        return result


class PassCount(ExitStack):
    """Inside, counts the forward passes by the name of the function that they run, and whether a backward pass follows."""

    def __init__(self, *modules: Any):
        super().__init__()
        self.passes = Counter[tuple[str, bool]]()
        for module in modules:
            self.enter_context(mock.patch.object(module, "run_in", self.counting(module.run_in)))

    def counting(self, run_in: Callable[..., Any]) -> Callable[..., Any]:
        def run(model: Any, function: Callable[..., Any], *inputs: Any) -> Any:
            self.passes[function.__name__, torch.is_grad_enabled()] += 1
            return run_in(model, function, *inputs)

        return run
