"""Matrix products of a model in a chosen number format: operands are rounded to it, sums and results are fp32.

The sampler and the trainer must give a token the same log-probability. Two kernels add the same numbers in
different orders; where their sums are rounded to 8 bits (bf16), a difference in the last bit of fp32 becomes a
whole step of bf16, in every layer. So results stay fp32 (as cuBLAS offers by `torch.mm(out_dtype=)`), and the
operands of the forward pass may be fp16 (11 bits) or two pieces of bf16 (16 bits). docs/precision.md has the
measurements.

Gradients have a wider range than fp16; their products take bf16 operands, so no loss is scaled.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from grpo.engine.halves import LOW, join, split


class Format(NamedTuple):
    """`forward` and `backward`: the type of the operands; an activation is the sum of `pieces` of them."""

    name: str
    forward: torch.dtype
    backward: torch.dtype
    pieces: int = 1

    def cut(self, x: Tensor) -> Tensor:
        """x without what is beyond the range of fp16."""
        return x.clamp(-65504.0, 65504.0) if self.forward == torch.float16 else x

    def split(self, x: Tensor) -> list[Tensor]:
        """The pieces of an activation; what is beyond the range of fp16 takes its largest number."""
        x = self.cut(x)
        pieces = [x.to(self.forward)]
        for _ in range(self.pieces - 1):
            x = x - pieces[-1]
            pieces.append(x.to(self.forward))
        return pieces

    def round(self, x: Tensor) -> Tensor:
        """x as the products see it, in its own type."""
        return sum(piece.to(x.dtype) for piece in self.split(x))  # type: ignore[return-value]

    def store(self, x: Tensor) -> Tensor:
        """x as one tensor that holds all its pieces: keys and values of a rollout."""
        return self.split(x)[0] if self.pieces == 1 else self.round(x)


FP32 = Format("fp32", torch.float32, torch.float32)
FORMATS = {
    format.name: format
    for format in (
        FP32,
        Format("bf16", torch.bfloat16, torch.bfloat16),
        Format("fp16", torch.float16, torch.bfloat16),
        Format("bf16x2", torch.bfloat16, torch.bfloat16, pieces=2),
    )
}


WIDE: dict[str, bool] = {}  # by device; a compiler that reads `multiply` finds the answer here


def has_wide_results(device: str) -> bool:
    """Whether a device multiplies 16-bit operands into fp32 without rounding; tried once, on a small product."""
    if device not in WIDE:
        WIDE[device] = multiplies_wide(device)
    return WIDE[device]


def multiplies_wide(device: str) -> bool:
    small = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
    try:
        return torch.mm(small, small, out_dtype=torch.float32).dtype == torch.float32
    except (NotImplementedError, RuntimeError, TypeError):
        return False


def multiply(left: Tensor, right: Tensor, is_wide: bool | None = None) -> Tensor:
    """(..., M, K) @ (..., K, N) of one type -> fp32 for a type of 16 bits, without rounding on the way out.

    `is_wide` is `has_wide_results` of the device, for code that a compiler reads.
    """
    if left.dtype.itemsize > 2:
        return left @ right
    if not (has_wide_results(left.device.type) if is_wide is None else is_wide):
        return left.float() @ right.float()
    if left.dim() == 2:
        return torch.mm(left, right, out_dtype=torch.float32)
    shape = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (x.expand(*shape, *x.shape[-2:]).flatten(0, -3) for x in (left, right))
    return torch.bmm(left, right, out_dtype=torch.float32).unflatten(0, shape)


def as_operand(weight: Tensor, low: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A weight, or the two halves of one (grpo/engine/halves.py), rounded to `dtype`: the high half is its bf16."""
    if low is not None and dtype != weight.dtype:
        weight = join(weight, low)
    return weight.to(dtype)


class _Linear(torch.autograd.Function):
    """x (B, in) @ weight (out, in).T in a format; the backward pass keeps the rounded x and no more. `low` is the
    low half of a weight that is split.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, low: Tensor | None, format: Format) -> Tensor:
        pieces = format.split(x)
        ctx.save_for_backward(pieces[0], weight, low)
        ctx.format = format
        matrix = as_operand(weight, low, format.forward).T
        result = multiply(pieces[0], matrix)
        for piece in pieces[1:]:
            result += multiply(piece, matrix)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, low = ctx.saved_tensors
        grad = grad.to(ctx.format.backward)
        needs_x, needs_weight, *_ = ctx.needs_input_grad
        grad_x = multiply(grad, as_operand(weight, low, grad.dtype)) if needs_x else None
        grad_weight = multiply(grad.T, x.to(grad.dtype)) if needs_weight else None
        return grad_x, grad_weight, None, None


class _JoinedLinear(torch.autograd.Function):
    """`linear` with the exact weight of two halves, bit for bit; the halves are kept and not what they make."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, high: Tensor, low: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, high, low)
        return linear(x, join(high, low), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None]:
        x, high, low = ctx.saved_tensors
        needs_x, needs_weight, _, needs_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        grad_x = (rows @ join(high, low)).view_as(x) if needs_x else None
        grad_weight = rows.T @ x.flatten(0, -2) if needs_weight else None
        return grad_x, grad_weight, None, rows.sum(dim=0) if needs_bias else None


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, format: Format) -> Tensor:
        return format.round(x)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def round_operand(x: Tensor, format: Format) -> Tensor:
    """x as an operand in `format`, in its own type; the gradient passes unchanged."""
    return x if format == FP32 else _Rounding.apply(x, format)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None, format: Format, low: Tensor | None = None
) -> Tensor:
    """x (..., in), weight (out, in), bias (out,) or None, all fp32 -> (..., out) fp32; differentiable. With `low`,
    `weight` is the high half of the weight.
    """
    if format == FP32:
        return linear(x, weight, bias) if low is None else _JoinedLinear.apply(x, weight, low, bias)
    result: Tensor = _Linear.apply(x.flatten(0, -2), weight, low, format)
    result = result if bias is None else result + bias
    return result.unflatten(0, x.shape[:-1])


def still_product(weight: Tensor, bias: Tensor | None, format: Format) -> Callable[[Tensor], Tensor]:
    """`product` with a weight that does not change: it is rounded once. The pieces of x are rows of one product,
    so that the weight is read once. x (B, in) -> (B, out) fp32; no gradient.
    """
    matrix = weight.to(format.forward).T

    def multiply_by_weight(x: Tensor) -> Tensor:
        result = multiply(torch.cat(format.split(x)), matrix)
        result = result.view(format.pieces, len(x), -1).sum(dim=0) if format.pieces > 1 else result
        return result if bias is None else result + bias

    return multiply_by_weight


class ProductLinear(nn.Linear):
    """A linear layer that multiplies in `format`; its parameters and their names are those of nn.Linear."""

    format: Format

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias, self.format)


class SplitLinear(ProductLinear):
    """A linear layer whose exact weight is two halves: the parameter `weight`, bf16, and the buffer `weight_low`,
    int16, or None where only the nearest bf16 is left. The gradient of the weight is fp32.
    """

    weight_low: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias, self.format, self.weight_low)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy's parameter does not take the type of its gradient along."""
        super().__setstate__(state)
        self.weight.grad_dtype = torch.float32


def split_linear(module: nn.Linear) -> None:
    """Make a linear layer a SplitLinear of the same value."""
    high, low = split(module.weight.detach())
    module.weight = nn.Parameter(high, module.weight.requires_grad)
    module.weight.grad_dtype = torch.float32
    module.register_buffer(LOW, low, persistent=False)
    setattr(module, "format", format_of(module))  # noqa: B010
    module.__class__ = SplitLinear


def weight_in(module: nn.Linear, format: Format) -> Tensor:
    """The weight of a linear layer as the products of `format` read it."""
    low = getattr(module, LOW, None)
    if format == FP32:
        return module.weight if low is None else join(module.weight, low)
    return as_operand(module.weight, low, format.forward)


def use_format(model: nn.Module, format: Format) -> None:
    """From now on every linear layer of `model` and of its copies multiplies in `format`.

    Raises ValueError where the weights of a frozen model are in the type of another one.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = ProductLinear
        if isinstance(module, ProductLinear):
            refuse_rounded(module, format)
            setattr(module, "format", format)  # noqa: B010  (mypy takes it for a submodule)


def refuse_rounded(module: nn.Linear, format: Format) -> None:
    """ValueError where a layer has only the rounded weights of another format."""
    type_ = module.weight.dtype
    is_rounded = type_.itemsize == 2 and getattr(module, LOW, None) is None
    if is_rounded and type_ != format.forward:
        raise ValueError(
            f"a frozen model has its weights in {type_}; load it anew to compute in {format.name}"
        )


@contextmanager
def in_format(format: Format, *models: nn.Module) -> Iterator[None]:
    """Inside, `models` multiply in `format`: measurements are made in FP32 whatever a run trains in."""
    others = [(model, own) for model in models if (own := format_of(model)) != format]
    for model, _ in others:
        use_format(model, format)
    try:
        yield
    finally:
        for model, own in others:
            use_format(model, own)


def format_of(module: nn.Module) -> Format:
    """The format that a model or a layer multiplies in."""
    return next((part.format for part in module.modules() if isinstance(part, ProductLinear)), FP32)
