"""The one place that picks device and number formats, threads and memory behaviour, and says what it chose
and why.
"""

import ctypes
import gc
import os
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from data.console import say
from data.errors import InputError, one_line
from data.system import peak_memory_bytes as peak_of_process
from grpo.engine.products import FORMATS, FP32, Format

CPU_BUILD = "this build of torch is for CPUs; install one for CUDA"


@dataclass(frozen=True)
class Compute:
    """Where tensors live and in which format a model multiplies; parameters are always fp32."""

    device: torch.device
    format: Format

    @property
    def max_gap(self) -> float:
        """Nats by which sampler and trainer may differ per token, on average; more is a defect, not rounding.

        docs/precision.md: rounding makes 1e-6 in fp32, 2e-5 in bf16x2, .002 in fp16 and .02 in bf16.
        """
        return {"fp32": 1e-3, "bf16x2": 5e-3, "fp16": 0.05}.get(self.format.name, 0.2)

    @property
    def takes_tf32(self) -> bool:
        """Whether fp32 products on an accelerator may round their operands to the 11 bits of TF32."""
        return self.device.type != "cpu" and self.format.name in ("bf16", "fp16")


def choose(device: str = "auto", number_format: str = "auto") -> Compute:
    """Device: "auto" takes an accelerator if there is one. Number format: "auto" takes fp16 products on an
    accelerator and fp32 on a CPU. Raises InputError for a device that is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: unknown value {device!r}; known values: auto, cpu, cuda")
    available, cause = find_card() if device != "cpu" else (False, "")
    if device == "cuda" and not available:
        why = cause or "look whether nvidia-smi lists a card"
        raise InputError(
            f"device='cuda': torch sees no such device here ({why}); write device='cpu' or 'auto'"
        )
    if cause:
        say(f"WARNING device='auto': no card is used ({cause}); write device='cpu' if that is meant")
    if not available:
        return Compute(torch.device("cpu"), FORMATS.get(number_format, FP32))
    # torchrun's number of this process on this machine
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return Compute(torch.device("cuda"), FORMATS[{"auto": "fp16"}.get(number_format, number_format)])


def find_card() -> tuple[bool, str]:
    """Whether torch can use an accelerator here, and where it cannot although there may be one, why."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available or not messages:
        is_for_cpu = torch.version.cuda is None and torch.version.hip is None
        has_card = Path("/proc/driver/nvidia/version").exists()
        return available, CPU_BUILD if not available and is_for_cpu and has_card else ""
    return False, one_line(str(messages[0].message).partition(". ")[0])


def configure(compute: Compute, threads: int = 0, deterministic: bool = False) -> None:
    """Threads, determinism, TF32 and the allocator, once at the start of a process.

    Kernels that give the same bits every time cost nothing on a CPU, and on an accelerator much: there they are
    taken where `deterministic` asks for them. Where torch has none for an operation, it warns.

    TF32 has the 11 bits of fp16 and the exponents of fp32. So it loses nothing of operands that were rounded to
    bf16 or fp16, as in the attention of a packed row; for fp32 and bf16x2 it is off.

    glibc hands large blocks back to the kernel at every free, and each step then faults them in again page by
    page; keeping them is worth some 200,000 page faults a step with a 130M-parameter model.
    """
    if threads:
        torch.set_num_threads(threads)
    on_cpu = compute.device.type == "cpu"
    if deterministic and not on_cpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made
    torch.use_deterministic_algorithms(deterministic or on_cpu, warn_only=True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010  (else every new tensor is written twice)
    torch.set_float32_matmul_precision("high" if compute.takes_tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = compute.takes_tf32
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold = -1
        top_pad = -2
        mmap_max = -4
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 64 << 20), (mmap_max, 0)):
            libc.mallopt(option, value)


def describe(compute: Compute) -> dict[str, object]:
    """Facts about the machine for the log and the report."""
    return {
        "device": torch.cuda.get_device_name()
        if compute.device.type == "cuda"
        else platform.processor() or platform.machine(),
        "device_type": compute.device.type,
        "compute_dtype": compute.format.name,
        "parameter_dtype": "float32",
        "tf32": compute.takes_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }


def peak_memory_bytes(compute: Compute | None = None) -> int:
    """The most that tensors took of an accelerator's memory so far; without one, the largest resident size of
    this process.
    """
    if compute is not None and compute.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_of_process()


def release_memory(compute: Compute) -> None:
    """Give an accelerator's unused memory back and count its peak anew."""
    gc.collect()
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def accelerator_memory(compute: Compute) -> int:
    """Bytes of memory of an accelerator; 0 for a CPU."""
    if compute.device.type != "cuda":
        return 0
    return torch.cuda.get_device_properties(compute.device).total_memory


def free_memory_bytes(compute: Compute) -> int | None:
    """Bytes that an accelerator still has for tensors, torch's own unused ones included; None for a CPU."""
    if compute.device.type == "cpu":
        return None
    free_bytes = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + free_bytes


def synchronise(compute: Compute) -> None:
    """Wait for queued work, so that a timer measures work and not its queueing."""
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
