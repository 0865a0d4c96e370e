"""Products in a number format: what is rounded, what is not, and the gradient of each operand."""

import copy

import pytest
import torch
from tiny import tiny_gemma
from torch import Tensor, nn

from grpo.engine.products import FORMATS, FP32, Format, format_of, multiply, product, use_format

SIXTEEN_BITS = [FORMATS[name] for name in ("bf16", "fp16", "bf16x2")]


def operands(rows: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 64, generator=generator), torch.randn(32, 64, generator=generator)


@pytest.mark.parametrize(
    ("name", "bits"), [("bf16", 8), ("fp16", 11), ("bf16x2", 16)], ids=["bf16", "fp16", "bf16x2"]
)
def test_an_activation_keeps_the_bits_of_its_format(name: str, bits: int) -> None:
    x = operands()[0].abs() + 1
    error = ((FORMATS[name].round(x) - x) / x).abs().max().item()
    assert 2.0 ** -(bits + 2) < error <= 2.0**-bits


def test_fp16_takes_its_largest_number_for_what_is_beyond_it() -> None:
    assert FORMATS["fp16"].round(torch.tensor([1e6, -1e6, 3.0])).tolist() == [65504.0, -65504.0, 3.0]


@pytest.mark.parametrize("format", SIXTEEN_BITS, ids=lambda format: format.name)
def test_result_is_the_fp64_product_of_the_rounded_operands(format: Format) -> None:
    x, weight = operands()
    exact = format.round(x).double() @ weight.to(format.forward).double().T
    result = product(x, weight, None, format)
    assert result.dtype == torch.float32
    assert (result.double() - exact).abs().max().item() < 2e-5  # bf16 results would be off by up to 0.06
    assert (result.to(torch.bfloat16).double() - exact).abs().max().item() > 1e-2


@pytest.mark.parametrize("format", SIXTEEN_BITS, ids=lambda format: format.name)
def test_gradients_are_products_of_rounded_operands(format: Format) -> None:
    x, weight = (tensor.requires_grad_() for tensor in operands())
    bias = torch.zeros(32, requires_grad=True)
    upstream = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    product(x, weight, bias, format).backward(upstream)
    rounded = upstream.to(format.backward).double()
    assert x.grad is not None and weight.grad is not None and bias.grad is not None
    of_x = rounded @ weight.detach().to(format.backward).double()
    torch.testing.assert_close(x.grad.double(), of_x, rtol=1e-5, atol=5e-6)
    first = x.detach().to(format.forward).to(format.backward).double()
    torch.testing.assert_close(weight.grad.double(), rounded.T @ first, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(bias.grad, upstream.sum(dim=0))


def test_fp32_is_the_linear_layer_to_the_bit() -> None:
    x, weight = operands()
    assert torch.equal(product(x, weight, None, FP32), nn.functional.linear(x, weight))


def test_multiply_broadcasts_like_matmul() -> None:
    left = torch.randn(2, 1, 3, 8).bfloat16()
    right = torch.randn(2, 4, 8, 5).bfloat16()
    assert torch.equal(multiply(left, right), left.float() @ right.float())


def test_copies_keep_the_format_and_state_keeps_its_names() -> None:
    model = tiny_gemma()
    names = list(model.state_dict())
    assert format_of(model) == FP32
    use_format(model, FORMATS["fp16"])
    assert format_of(copy.deepcopy(model)) == FORMATS["fp16"]
    assert list(model.state_dict()) == names
    use_format(model, FP32)
    assert format_of(model) == FP32
