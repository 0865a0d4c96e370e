"""What is decided once for a process: determinism and TF32, and that a CPU stays as it was."""

from collections.abc import Iterator

import pytest
import torch

from grpo.engine.products import FORMATS
from grpo.runtime.device import Compute, choose, configure, describe, free_memory_bytes

CARD = torch.device("cuda")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Left as they were."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=True)
    torch.set_float32_matmul_precision(before[1])
    torch.backends.cudnn.allow_tf32 = convolutions


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_cpu_is_deterministic_and_exact_whatever_is_asked_for(deterministic: bool) -> None:
    for name in ("fp32", "fp16"):
        compute = choose("cpu", name)
        configure(compute, deterministic=deterministic)
        facts = describe(compute)
        assert (facts["deterministic"], facts["tf32"]) == (True, False)
        assert torch.get_float32_matmul_precision() == "highest"
    assert free_memory_bytes(choose("cpu")) is None


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(
    ("name", "tf32"), [("fp16", True), ("bf16", True), ("bf16x2", False), ("fp32", False)]
)
def test_an_accelerator_is_as_asked_for_and_takes_tf32_where_operands_are_rounded_anyway(
    name: str, tf32: bool, deterministic: bool
) -> None:
    compute = Compute(CARD, FORMATS[name])
    configure(compute, deterministic=deterministic)
    assert compute.takes_tf32 is tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.are_deterministic_algorithms_enabled() is deterministic
