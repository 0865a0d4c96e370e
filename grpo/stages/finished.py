"""Tells whether the model folder of a finished stage is complete, by its settings and the headers of its weights; reads no
tensor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.documents import read_object
from data.errors import InputError
from data.model_folder import tensor_shapes
from data.model_settings import model_settings
from grpo.engine.loading import INDEX, SINGLE
from grpo.stages.context import Run

SETTINGS = "config.json"
FREE = ("transformers_version", "dtype", "torch_dtype", "_name_or_path", "use_cache")
TOKEN = "_token_id"  # ends of keys that a user may set
FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def check_finished(run: Run, folder: Path, before: Path | None = None) -> None:
    """Raises InputError where a folder is damaged, or not of the model that the stage began from, in `before`."""
    try:
        shapes, settings = parts_of(folder)
        if before:
            check_like(folder, shapes, settings, before)
    except InputError as error:
        raise InputError(
            f"{error.args[0].partition(';')[0]}; copy {folder} from where it is whole, or remove it and {run.folder / 'eval'}, "
            "and the same command makes both again"
        ) from error


def parts_of(folder: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """The shapes of the tensors and the settings. Raises InputError for what is missing, cut or none."""
    settings = model_settings(folder / SETTINGS) or read_object(folder / SETTINGS)
    if "model_type" not in settings:
        raise InputError(f"{folder / SETTINGS}: names no model_type")
    paths = weight_files(folder)
    return {name: shape for path in paths for name, shape in tensor_shapes(path).items()}, settings


def weight_files(folder: Path) -> Sequence[Path]:
    """The files of the weights, one or those of the list of parts. Raises InputError where one is missing."""
    if (folder / INDEX).is_file() and not (folder / SINGLE).is_file():
        parts = read_object(folder / INDEX).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
            raise InputError(f"{folder / INDEX}: weight_map must be an object of texts")
        paths = [folder / name for name in sorted({*parts.values()})]
    else:
        paths = [folder / SINGLE]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: this file of the trained model is missing")
    return paths


def check_like(folder: Path, shapes: dict[str, list[int]], settings: dict[str, Any], before: Path) -> None:
    """Raises InputError where tensors, sizes or files are not those of the model before the stage."""
    old_shapes, old_settings = parts_of(before)
    for name, shape in old_shapes.items():
        if shapes.get(name) != shape:
            found = f"has the shape {shapes[name]}" if name in shapes else "is missing"
            raise InputError(f"{folder}: the tensor {name} {found}, and {before} has {shape}")
    for key, value in old_settings.items():
        own = settings.get(key, value)
        is_plain = isinstance(value, int | float | str) and isinstance(own, int | float | str)
        if is_plain and own != value and key not in FREE and not key.endswith(TOKEN):
            raise InputError(f"{folder / SETTINGS}: {key} = {own!r}, and {before} has {value!r}")
    for name in FILES:
        if (before / name).is_file() and not (folder / name).is_file():
            raise InputError(f"{folder / name}: this file of the trained model is missing")
