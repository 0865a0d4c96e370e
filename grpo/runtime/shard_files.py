"""Tensors of which each process holds a share, in a folder of safetensors files that any number of processes can
read.

torch.distributed.checkpoint does the work, with its writer and reader of safetensors: each process writes its
share into files of its own, and says in their headers which rows it is. Nothing is pickled into a file or read as
a pickle, as torch's usual `.metadata` is. A safetensors file without such a header is taken for whole tensors, so
that a checkpoint of one process is read in the same way.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from data.checksums import fingerprint
from grpo.runtime.parallel import World
from grpo.runtime.shared_folder import gather_in_first

if TYPE_CHECKING:  # takes a second, and a run that neither resumes nor shards does not need it
    from torch.distributed.checkpoint.metadata import Metadata

SHARDS = "shard-*.safetensors"
FILE_BYTES = 512 << 20  # of a process's share in one file: what it holds twice on the host while it writes


@dataclass(frozen=True)
class Header:
    """What a file says of a tensor: its whole shape, and its type."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def has_shards(tensors: Iterable[Tensor]) -> bool:
    """Does each process hold only its share of some of the tensors?"""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is on this process as a whole; every process must call this where it has shards."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def write_shards(folder: Path, tensors: Mapping[str, Tensor], world: World) -> dict[str, dict[str, Any]]:
    """Write the shares of all processes; each calls this. In the first it gives the fingerprint of every file.

    A tensor that each process holds as a whole is written once. Raises in all processes what one of them
    raised.
    """
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    files = file_numbers(tensors, world.size * FILE_BYTES)
    writer = dcp.HuggingFaceStorageWriter(str(folder), files, save_distributed=True)
    try:
        dcp.save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)
    except CheckpointException as failure:
        raise next(error for error, _ in failure.failures.values()) from failure
    pattern = f"shard-{world.rank + 1:05d}-*.safetensors"
    own = world.together(lambda: {file.name: fingerprint(file) for file in folder.glob(pattern)})
    fingerprints = {name: entry for part in gather_in_first(own, world) for name, entry in part.items()}
    if world.is_first and fingerprints.keys() != (found := {file.name for file in folder.glob(SHARDS)}):
        raise RuntimeError(
            f"{folder}: {sorted(fingerprints)} were written by {world.size} processes, but the first finds {sorted(found)}; "
            "all must see the same run folder"
        )
    return fingerprints


def file_numbers(tensors: Mapping[str, Tensor], most: int) -> dict[str, int]:
    """The number of the file of each tensor, from 1; tensors of up to `most` bytes share one.

    >>> file_numbers({name: torch.zeros(size) for name, size in (("a", 1), ("b", 3), ("c", 2))}, 16)
    {'a': 1, 'b': 1, 'c': 2}
    """
    numbers = {}
    number = 1
    size = 0
    for name, tensor in tensors.items():
        if size and size + tensor.nbytes > most:
            number += 1
            size = 0
        size += tensor.nbytes
        numbers[name] = number
    return numbers


class SavedTensors:
    """The tensors in the safetensors files of `folder` but for those in the files `without`; their headers by
    name.
    """

    def __init__(self, folder: Path, without: tuple[str, ...] = ()):
        from torch.distributed.checkpoint import HuggingFaceStorageReader
        from torch.distributed.checkpoint.filesystem import FileSystem

        class Files(FileSystem):
            def ls(self, path: Any) -> list[str]:
                return [file for file in super().ls(path) if Path(file).name not in without]

        class Reader(HuggingFaceStorageReader):
            metadata: "Metadata | None" = None

            def read_metadata(self) -> "Metadata":
                if self.metadata is None:
                    self.metadata = super().read_metadata()
                return self.metadata

        self.reader = Reader(str(folder))
        self.reader.fs = Files()
        entries = self.reader.read_metadata().state_dict_metadata
        self.headers = {
            name: Header(tuple(entry.size), entry.properties.dtype)  # type: ignore[union-attr]
            for name, entry in entries.items()
        }

    def read_into(self, targets: Mapping[str, Tensor]) -> None:
        """Fill the targets, whole tensors or shares of them, bit for bit, reading no more than they take. Shapes
        and types are those of the headers.
        """
        from torch.distributed import checkpoint as dcp

        with warnings.catch_warnings(action="ignore"):  # it warns that each process reads on its own
            dcp.load(dict(targets), storage_reader=self.reader, no_dist=True)

    def read(self, name: str) -> Tensor:
        """One whole tensor, on the CPU."""
        header = self.headers[name]
        target = torch.empty(header.shape, dtype=header.dtype)
        self.read_into({name: target})
        return target
