"""Writes a model as transformers does, one tensor after another: of a model in shares no process ever holds the whole.

Where the tensors come from is a `TensorSource`: the model itself, or a checkpoint of it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.halves import ExactParameters
from grpo.engine.private_apis import names_kept_out, tensors_in_files
from grpo.engine.sharding import whole
from grpo.engine.tensor_file import Header

FILE_BYTES = 5_000_000_000  # of tensors in one file; the process that writes it holds them on the host
INDEX = "model.safetensors.index.json"


class TensorSource(Protocol):
    """The tensors of a model by name, to be read one after another."""

    @property
    def headers(self) -> Mapping[str, Header]: ...

    def read(self, name: str) -> Tensor:
        """The whole tensor. Every process calls this, in the same order, where each holds a share."""


class ModelTensors:
    """What the files of a model hold: parameters, a tied one once, and the buffers that are kept."""

    def __init__(self, model: PreTrainedModel):
        names = model.state_dict().keys() - names_kept_out(model)
        self.parameters = ExactParameters(model)
        self.buffers = {name: buffer for name, buffer in model.named_buffers() if name in names}
        named_tensors = chain(self.parameters.items(), self.buffers.items())
        self.headers = {name: Header.of(tensor) for name, tensor in named_tensors if name in names}

    def read(self, name: str) -> Tensor:
        return whole(self.buffers[name] if name in self.buffers else self.parameters[name]).detach()


def write_folder(
    folder: Path | None, model: PreTrainedModel, source: TensorSource, most: int = FILE_BYTES
) -> None:
    """What `save_pretrained` of a model with the tensors of `source` writes, in files of up to `most` bytes. Every
    process calls this where each holds a share, all but the first without a folder.
    """
    groups = groups_of(model, source.headers)
    split = split_torch_state_dict_into_shards(
        {
            name: tensor
            for group in groups
            for name, tensor in file_tensors(model, source.headers, group).items()
        },
        max_shard_size=most,
    )
    waiting: dict[str, Tensor] = {}
    error: Exception | None = None
    for group in groups:
        tensors = {name: source.read(name) for name in group}
        if folder is None or error:
            continue  # the others wait for each tensor that is left
        try:
            waiting |= {name: x.cpu().contiguous() for name, x in tensors_in_files(model, tensors).items()}
            write_full_files(folder, split.filename_to_tensors, waiting)
        except Exception as raised:
            error = raised
    if error:
        raise error
    if folder is None:
        return
    write_settings(folder, model, source.headers)
    if split.is_sharded:
        metadata = {"total_parameters": model.num_parameters(), **split.metadata}
        index = {"metadata": metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def groups_of(model: PreTrainedModel, headers: Mapping[str, Header]) -> list[list[str]]:
    """Which tensors must be there together to be written: each alone, or all where the files of a family join some."""
    names = file_tensors(model, headers, headers).keys()
    alone = {name for origin in headers for name in file_tensors(model, headers, [origin])}
    return [[name] for name in headers] if alone == names else [list(headers)]


def file_tensors(
    model: PreTrainedModel, headers: Mapping[str, Header], names: Iterable[str]
) -> dict[str, Tensor]:
    """Tensors without content, as the files will hold them."""
    empty = {
        name: torch.empty(headers[name].shape, dtype=headers[name].dtype, device="meta") for name in names
    }
    in_files = tensors_in_files(model, empty)
    return {
        name: torch.empty_like(tensor) for name, tensor in in_files.items()
    }  # no views, which count in full


def write_full_files(folder: Path, files: Mapping[str, Sequence[str]], waiting: dict[str, Tensor]) -> None:
    """Write each file whose tensors are all there, and forget them."""
    for file, names in files.items():
        if waiting.keys() >= set(names):
            save_file({name: waiting.pop(name) for name in names}, folder / file, metadata={"format": "pt"})


def write_settings(folder: Path, model: PreTrainedModel, headers: Mapping[str, Header]) -> None:
    """config.json and generation_config.json, as `save_pretrained` writes them."""
    dtype = next(header.dtype for header in headers.values() if header.dtype.is_floating_point)
    model.config.dtype = str(dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__.removeprefix("FSDP")]  # fully_shard renames the class
    model.config.save_pretrained(folder)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
