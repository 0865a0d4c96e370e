"""Checks a transformers folder before its weights are read, and turns transformers' own errors into
InputError.

transformers fills missing tensors with random numbers, builds whatever sizes config.json names, and offers to
run code from the folder. So the folder must have safetensors weights and no adapter, and its weights must
fill the model. Not here: reading the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from data.documents import read_object
from data.errors import InputError
from data.model_settings import model_settings

ADAPTER = "adapter_config.json"
BOTH_WAYS = ("ForMaskedLM", "ForPreTraining")  # ends of the names of architectures
LAYERS = (
    "num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers", "num_decoder_layers",
)  # fmt: skip
NO_MODEL = "config.json describes no model that transformers can build"
OFFLINE = "; look at the network, or download the model into a folder and name that folder"
PANIC = "PanicException"  # of Rust's libraries: no subclass of Exception, and no module exports it
# most parameters of a model per number in its weights: tied ones are stored once, a decoder may be absent
MOST_TIMES = 4


def check_model_folder(folder: Path, kind: Any) -> None:
    """Raises InputError for a folder that must not be read, or whose weights cannot be those of its
    config.json as a `kind` (AutoModel ...).
    """
    if (folder / ADAPTER).exists():
        raise InputError(
            f"{folder}: is an adapter ({ADAPTER}); merge it into its base model and save that as safetensors"
        )
    require_weights(folder)
    path = folder / "config.json"
    shapes = [
        shape for file in sorted(folder.glob("*.safetensors")) for shape in tensor_shapes(file).values()
    ]
    _check_layers(path, model_settings(path) or read_object(path), len(shapes))
    num_stored = sum(map(prod, shapes))
    num_parameters = _parameters(folder, kind)
    if num_parameters > MOST_TIMES * num_stored:
        raise InputError(
            f"{path}: describes a model of {num_parameters:,} parameters, but the weights hold "
            f"{num_stored:,} numbers; restore the folder"
        )


@contextmanager
def input_errors(folder: object, what: str) -> Iterator[None]:
    """Turn whatever transformers, tokenizers or torch raise about `folder` in this block into an InputError
    with the sentence `what`.
    """
    try:
        yield
    except InputError:
        raise
    # damaged files have raised every kind of Exception there is, and tokenizers' own kind beside them
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        remedy = OFFLINE if isinstance(error, OSError) and "connect" in str(error) else ""
        raise InputError(f"{folder}: {what} ({first_line(error)}){remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers inside the block; its settings come back after it."""
    # standard error too: the bar of the GGUF reader obeys no setting
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with the second one behind a colon, after the error's type for errors with
    terse messages.
    """
    first, *others = str(error).strip().split("\n")
    text = " ".join([first, *others[: first.endswith(":")]])[:200]
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"


def check_direction(path: Path) -> None:
    """Raises InputError where config.json describes a model that reads both ways, as those of BERT and T5 do."""
    settings = model_settings(path)
    names = settings.get("architectures") or []
    reads_both_ways = any(name.endswith(BOTH_WAYS) for name in names) and not settings.get("is_decoder")
    if settings.get("is_encoder_decoder") is True or reads_both_ways:
        raise InputError(
            f"{path}: {', '.join(names) or 'this model'} has an encoder and predicts no next token; take a model whose "
            "architecture ends with ForCausalLM"
        )


def _check_layers(path: Path, settings: dict[str, Any], tensors: int) -> None:
    """Refuse more layers than tensors, in these settings and in those of a part: building millions of layers
    never ends.
    """
    for key, value in settings.items():
        if isinstance(value, dict):
            _check_layers(path, value, tensors)
        if key in LAYERS and isinstance(value, int | float) and not 0 <= value <= tensors:
            raise InputError(
                f"{path}: {key} = {value}, but the weights hold {tensors} tensors; restore the folder"
            )


def check_config(folder: Path) -> None:
    """Raises InputError where config.json is none of a model that transformers knows."""
    with input_errors(folder, NO_MODEL):
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _parameters(folder: Path, kind: Any) -> int:
    """Count the parameters of the model in config.json, built on the meta device without memory."""
    with (
        input_errors(folder, NO_MODEL),
        torch.random.fork_rng(devices=[]),
    ):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = kind.from_config(config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())


LFS_POINTER = b"version https://git-lfs"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
UNREADABLE = (  # all have been raised for damaged safetensors files
    OSError, SafetensorError, ValueError, KeyError, RuntimeError, AttributeError,
)  # fmt: skip


def require_weights(folder: Path) -> None:
    """Raises InputError unless `folder` has safetensors. Pickled weights are never read, since they can run code."""
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder}: its weights are only a pickle ({pickles[0]}), which can run code when read; save them as safetensors"
        )
    raise InputError(f"{folder}: no weights (*.safetensors); copy them into it, or download the model again")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors in a safetensors file, from its header alone. Raises InputError."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    """What to do about weights that cannot be read."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        is_pointer = False
    return "it is only a pointer of Git LFS: run git lfs pull" if is_pointer else "copy or download it again"
