"""What is asked of a transformers folder before its weights are read, and the one place where transformers'
own errors become ours.

transformers fills what is missing with random numbers, builds whatever sizes config.json names, and offers to
run code from the folder. So: weights that are safetensors and no adapter, and a model that these weights can
fill. Not here: reading the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig

from data.documents import read_object
from data.errors import InputError

ADAPTER = "adapter_config.json"
LAYERS = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "encoder_layers",
    "decoder_layers",
    "num_decoder_layers",
)
PANIC = "PanicException"  # of Rust's libraries: no Exception, and importable from nowhere
# parameters of a model for each number in its weights: tied ones are stored once, a decoder may be absent
MOST_TIMES = 4


def screen(folder: Path, kind: Any) -> None:
    """InputError for a folder that must not be read, or whose weights cannot be those of its config.json as a
    `kind` (AutoModel ...).
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
    _check_layers(path, read_object(path), len(shapes))
    stored = sum(map(prod, shapes))
    wanted = _parameters(folder, kind)
    if wanted > MOST_TIMES * stored:
        raise InputError(
            f"{path}: describes a model of {wanted:,} parameters, but the weights hold {stored:,} numbers; restore the folder"
        )


@contextmanager
def readable(folder: object, what: str) -> Iterator[None]:
    """Whatever transformers, tokenizers or torch raise at what they find in `folder` leaves the block as an
    InputError saying `what`.
    """
    try:
        yield
    except InputError:
        raise
    # damaged files have raised every kind of Exception there is, and tokenizers' own kind beside them
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        raise InputError(f"{folder}: {what} ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, and what it is called where that says more."""
    text = str(error).strip().split("\n")[0][:200]
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"


def _check_layers(path: Path, settings: dict[str, Any], tensors: int) -> None:
    """No more layers than tensors, in these settings and in those of a part: building millions of them never
    ends.
    """
    for key, value in settings.items():
        if isinstance(value, dict):
            _check_layers(path, value, tensors)
        if key in LAYERS and isinstance(value, int | float) and not 0 <= value <= tensors:
            raise InputError(
                f"{path}: {key} = {value}, but the weights hold {tensors} tensors; restore the folder"
            )


def _parameters(folder: Path, kind: Any) -> int:
    """Parameters of the model that config.json describes, which is built without memory for them."""
    with (
        readable(folder, "config.json describes no model that transformers can build"),
        torch.random.fork_rng(devices=[]),
    ):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = kind.from_config(config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())


PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


UNREADABLE = (
    OSError,
    SafetensorError,
    ValueError,
    KeyError,
    RuntimeError,
    AttributeError,
)  # from a damaged safetensors file; all seen


def require_weights(folder: Path) -> None:
    """InputError unless `folder` holds safetensors; pickled weights can run code when they are opened, so
    they are never read.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            f"{folder}: its weights are only a pickle ({pickled[0]}), which can run code when read; save them as safetensors"
        )
    raise InputError(f"{folder}: no weights (*.safetensors)")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors in a safetensors file, from its header alone. Raises InputError."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
