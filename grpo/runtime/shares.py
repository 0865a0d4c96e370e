"""Tensors of which each process holds a share, in a folder of safetensors files that any number of processes can
read.

torch.distributed.checkpoint does the work, with its writer and reader of safetensors: each process writes its
share into files of its own, and says in their headers which rows it is. Nothing is pickled into a file or read as
a pickle, as torch's usual `.metadata` is. A safetensors file without such a header is taken for whole tensors, so
that a checkpoint of one process is read in the same way.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.tensor import DTensor

from data.checksums import fingerprint
from grpo.engine.packing import by_budget
from grpo.engine.tensor_file import Header
from grpo.runtime.parallel import World

# as torch's writer names them: the first number is that of the process, from 1
SHARES = "shard-*.safetensors"
# of a process's share in one file, which it holds twice on the host while it writes it
FILE_BYTES = 256 << 20


def has_shares(tensors: Iterable[Tensor]) -> bool:
    """Does each process hold only its share of some of the tensors?"""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def write_shares(folder: Path, tensors: Mapping[str, Tensor], world: World) -> dict[str, dict[str, Any]]:
    """Write the shares of all processes; each calls this. Gives the fingerprint of every file.

    A tensor that each process holds as a whole is written once. Raises in all processes what one of them
    raised.
    """
    batches = in_batches(tensors, world.size * FILE_BYTES)
    files = {name: number for number, batch in enumerate(batches, start=1) for name in batch}
    writer = dcp.HuggingFaceStorageWriter(str(folder), files, save_distributed=True)
    try:
        dcp.save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)
    except CheckpointException as failure:
        raise next(error for error, _ in failure.failures.values()) from failure
    pattern = SHARES.replace("*", f"{world.rank + 1:05d}-*")
    own = world.together(lambda: {file.name: fingerprint(file) for file in folder.glob(pattern)})
    parts = world.merge({world.rank: own}).values()
    fingerprints = {name: entry for part in parts for name, entry in part.items()}
    if world.is_first and fingerprints.keys() != (found := {file.name for file in folder.glob(SHARES)}):
        raise RuntimeError(
            f"{folder}: {world.size} processes wrote {len(fingerprints)} files and the first finds {len(found)}; "
            "all processes must see the same run folder"
        )
    return fingerprints


def in_batches(tensors: Mapping[str, Tensor], most: int) -> list[list[str]]:
    """The names of the tensors in their order, neighbours together up to `most` bytes; a larger one alone.

    >>> in_batches({name: torch.zeros(size) for name, size in (("a", 1), ("b", 3), ("c", 2))}, 16)
    [['a', 'b'], ['c']]
    """
    names = [*tensors]
    batches = by_budget([tensor.nbytes for tensor in tensors.values()], most)
    return [[names[number] for number in batch] for batch in batches]


class SomeFiles(FileSystem):
    """The files of a folder but for some."""

    def __init__(self, without: tuple[str, ...]):
        super().__init__()
        self.without = without

    def ls(self, path: Any) -> list[str]:
        return [file for file in super().ls(path) if Path(file).name not in self.without]


class Reader(dcp.HuggingFaceStorageReader):
    """torch's reader, which reads the headers once."""

    metadata: Metadata | None = None

    def read_metadata(self) -> Metadata:
        if self.metadata is None:
            self.metadata = super().read_metadata()
        return self.metadata


class SavedTensors:
    """The tensors in the safetensors files of `folder` but for those in the files `without`.

    parameters  their headers by name
    moments     names of the moments "kind:name of a parameter", by that name
    """

    def __init__(self, folder: Path, without: tuple[str, ...] = ()):
        self.reader = Reader(str(folder))
        self.reader.fs = SomeFiles(without)
        self.headers = {
            name: Header(tuple(entry.size), entry.properties.dtype)
            for name, entry in self.reader.read_metadata().state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)  # safetensors holds nothing else
        }
        self.moments: dict[str, list[str]] = {}
        for name in self.headers:
            if (owner := name.partition(":")[2]) in self.headers:
                self.moments.setdefault(owner, []).append(name)
        others = {name for names in self.moments.values() for name in names}
        self.parameters = {name: header for name, header in self.headers.items() if name not in others}

    def read(self, name: str) -> Tensor:
        """A whole tensor on the CPU, bit for bit."""
        return self.read_like({name: torch.empty(0)})[name]

    def read_like(self, patterns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by name, bit for bit: each on the device of its pattern, and in shares where that is in shares and
        of the same shape. A process reads no more than it holds.
        """
        targets = {name: self._room_for(name, pattern) for name, pattern in patterns.items()}
        with warnings.catch_warnings(action="ignore"):  # it warns that each process reads on its own
            dcp.load(dict(targets), storage_reader=self.reader, no_dist=True)
        return targets

    def _room_for(self, name: str, pattern: Tensor) -> Tensor:
        header = self.headers[name]
        if pattern.shape == header.shape:
            return torch.empty_like(pattern, dtype=header.dtype, requires_grad=False)
        return torch.empty(header.shape, dtype=header.dtype, device=pattern.device)
