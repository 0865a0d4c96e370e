"""Reads a transformers folder straight into a model: on its device, in its types and shares, never twice in memory.

transformers builds the model around placeholders, as it would around the weights; then each tensor is read from its
file into its place. Where the tensors of the files are not those of the model by name and shape, or are packed in
some way, transformers loads them too.
"""

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from data.documents import read_object
from data.errors import InputError
from data.model_folder import check_direction, check_model_folder, input_errors
from grpo.engine.halves import LOW, low_half, write
from grpo.engine.sharding import own_rows, own_share
from grpo.engine.source import ModelSource

SINGLE = "model.safetensors"  # transformers' names of the weights and of the list of their parts
INDEX = "model.safetensors.index.json"
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
STAGING = 1 << 18  # bytes read at a time where a tensor has another type than its file, or another device

Form = Callable[[PreTrainedModel], object]  # changes how a model holds its weights, or cuts it into shares


class TensorPlace(NamedTuple):
    """Where a tensor is: its file, the first byte, its type and shape."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]


def load_model(source: str | Path | ModelSource, device: torch.device, form: Form) -> PreTrainedModel:
    """A causal LM on `device`, fp32 or in the `form` given. InputError for a folder that is none, or lacks weights."""
    transformers_logging.disable_progress_bar()
    name = str(source)
    if Path(name).is_dir():
        check_direction(Path(name) / "config.json")
        check_model_folder(Path(name), AutoModelForCausalLM)
    with input_errors(name, "transformers cannot load this as a causal LM with safetensors weights"):
        model = read_model(name, files_of(source), device, form)
        missing: list[str] = []
        if model is None:
            model, missing = load_by_transformers(name)
            form(model)
    check_weights(name, model, missing)
    nn.Module.to(model, device)
    return model


def load_by_transformers(name: str) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of tensors that it lacks; on the host, and for a time twice."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    return loaded[0], sorted(loaded[1]["missing_keys"])


def check_weights(folder: str | Path, model: PreTrainedModel, missing: list[str]) -> None:
    """InputError for tensors that are `missing`, which transformers has filled with random numbers, or hold
    what is not finite.
    """
    if missing:
        raise InputError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more tensors of a {type(model).__name__}"
        )
    bad_names = [name for name, parameter in model.named_parameters() if not is_finite(own_share(parameter))]
    if bad_names:
        raise InputError(
            f"{folder}: not finite in {bad_names[0]} and {len(bad_names) - 1} more tensors; restore the weights"
        )


def is_finite(x: Tensor) -> bool:
    """Whether all numbers are; no tensor of the size of x is made for it."""
    return all(bool(end.isfinite()) for end in x.detach().aminmax()) if x.numel() else True


def files_of(source: str | Path | ModelSource) -> Path | None:
    """The folder of a model, that of a hub model where it has been fetched; None before that."""
    if not isinstance(source, ModelSource):
        return Path(source)
    try:
        return source.files()
    except (OSError, ValueError):
        return None


def read_model(name: str, folder: Path | None, device: torch.device, form: Form) -> PreTrainedModel | None:
    """The model in the folder, read by this file; None where only transformers can load it."""
    stored_shapes = stored_tensors(folder) if folder else None
    model = empty_model(name, folder, stored_shapes) if folder and stored_shapes else None
    if model is None or stored_shapes is None:
        return None
    form(model)
    make_room(model, device)
    for tensor, place in sorted(stored_shapes.items(), key=lambda item: item[1][:2]):
        read_parameter(model, tensor, place)
    return model


def stored_tensors(folder: Path) -> dict[str, TensorPlace] | None:
    """All tensors of the files that transformers would read; None where one is missing, damaged or of another kind."""
    try:
        if (folder / SINGLE).is_file():
            paths = [folder / SINGLE]
        else:
            index = read_object(folder / INDEX)["weight_map"]
            paths = [folder / part for part in sorted(set(index.values()))]
        return {name: found for path in paths for name, found in tensors_in(path).items()}
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def tensors_in(path: Path) -> dict[str, TensorPlace]:
    """By the header of a safetensors file. ValueError or KeyError for what does not fit its size, or no type of
    TYPES.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path}: no header of {length} bytes")
        header = json.loads(file.read(length))
    found = {}
    header.pop("__metadata__", None)
    for name, facts in header.items():
        start, end = facts["data_offsets"]
        place = TensorPlace(path, 8 + length + start, TYPES[facts["dtype"]], tuple(facts["shape"]))
        size = prod(place.shape) * place.dtype.itemsize
        if end - start != size or not 0 <= place.offset <= path.stat().st_size - size:
            raise ValueError(f"{path}: {name} does not fit")
        found[name] = place
    return found


def empty_model(name: str, folder: Path, stored: Mapping[str, TensorPlace]) -> PreTrainedModel | None:
    """The model of these tensors as transformers makes it, its parameters on the meta device and its buffers on the
    host; None where they are not exactly its parameters.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "quantization_config", None) or getattr(config, "transformers_weights", None):
            return None
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            kind: Any = type(AutoModelForCausalLM.from_config(config, trust_remote_code=False))
        placeholders = {tensor: torch.zeros(1).expand(place.shape) for tensor, place in stored.items()}
        model = kind.from_pretrained(None, config=config, state_dict=placeholders, dtype=torch.float32)
    except Exception:  # whatever it is, transformers says it better when it loads the folder itself
        return None
    shapes = {tensor: tuple(parameter.shape) for tensor, parameter in model.named_parameters()}
    names = {tensor for tensor, _ in model.named_parameters(remove_duplicate=False)}
    if shapes != {tensor: place.shape for tensor, place in stored.items()} or names != {*model.state_dict()}:
        return None
    model.generation_config = settings
    model.config.name_or_path = name
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.name_or_path = name
    replace_parameters(model, torch.device("meta"))
    return model


def make_room(model: PreTrainedModel, device: torch.device) -> None:
    """Memory for what is on the meta device: parameters and low halves."""
    replace_parameters(model, device)
    for module in model.modules():
        if isinstance(low := getattr(module, LOW, None), Tensor):
            setattr(module, LOW, torch.empty_like(low, device=device))


def replace_parameters(model: nn.Module, device: torch.device) -> None:
    """New parameters of the same shapes and types, without values; what was tied stays so."""
    parameters: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, old in [*module.named_parameters(recurse=False)]:
            if id(old) not in parameters:
                new = nn.Parameter(torch.empty_like(old, device=device), old.requires_grad)
                new.grad_dtype = old.grad_dtype
                parameters[id(old)] = new
            setattr(module, name, parameters[id(old)])


@torch.no_grad()
def read_parameter(model: nn.Module, name: str, place: TensorPlace) -> None:
    """Read a tensor of a file into the parameter `name`, in both halves where it is split; where it is shared out,
    only the rows of this process.
    """
    parameter = model.get_parameter(name)
    read_tensor(place, own_share(parameter), low_half(model, name), own_rows(parameter))


def read_tensor(
    place: TensorPlace, target: Tensor, low: Tensor | None = None, rows: slice | None = None
) -> None:
    """Read a tensor, or some of its rows, into `target`, whose type may be another; with `low` as two halves.

    Raises OSError where the file ends early.
    """
    first, last, _ = (rows or slice(None)).indices(place.shape[0]) if place.shape else (0, 1, 1)
    width = prod(place.shape[1:])
    flat = target.detach().view(-1)
    if flat.numel() != (last - first) * width:
        raise ValueError(
            f"{place.path}: {last - first} rows of {width} numbers for a tensor of {flat.numel()}"
        )
    with open(place.path, "rb", buffering=0) as file:
        file.seek(place.offset + first * width * place.dtype.itemsize)
        if low is None and (flat.device.type, flat.dtype) == ("cpu", place.dtype):
            fill(file, flat)
            return
        is_pinned = flat.device.type != "cpu"
        staging = torch.empty(
            min(flat.numel(), STAGING // place.dtype.itemsize), dtype=place.dtype, pin_memory=is_pinned
        )
        for start in range(0, flat.numel(), max(1, staging.numel())):
            part = slice(start, min(start + staging.numel(), flat.numel()))
            values = staging[: part.stop - part.start]
            fill(file, values)
            write(values, flat[part], None if low is None else low.view(-1)[part])


def fill(file: Any, values: Tensor) -> None:
    """Read bytes into a tensor on the host until it is full."""
    room = values.view(torch.uint8).numpy().data if values.numel() else memoryview(b"")
    while room:
        count = file.readinto(room)
        if not count:
            raise OSError(f"{file.name} ends {len(room)} bytes early")
        room = room[count:]
