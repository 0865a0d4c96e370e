"""Writes a safetensors file one tensor after another, so that the host holds one of them at a time.

The format: 8 bytes with the length of the header, the header as JSON, the bytes of the tensors without gaps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT = 8  # of the first byte after the header
TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Header:
    """What a file says of a tensor: its whole shape, and its type."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Header":
        return cls(tuple(tensor.shape), tensor.dtype)


def save_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file of these tensors, which may be anywhere. The mapping may make a tensor when it is asked for it,
    which is done twice.
    """
    headers = {name: Header.of(tensor) for name, tensor in tensors.items()}
    names = sorted(headers, key=lambda name: (-headers[name].dtype.itemsize, name))  # so that each is aligned
    entries = {}
    end = 0
    for name in names:
        shape, dtype = headers[name].shape, headers[name].dtype
        start, end = end, end + prod(shape) * dtype.itemsize
        entries[name] = {"dtype": TYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(bytes_of(tensors[name]))


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, on the host."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
