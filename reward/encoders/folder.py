"""Reads the files of encoder folders: strict JSON, safetensors weights, and a hash of all files that affect a
vector.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from data.checksums import sha256_of
from data.documents import read_object
from data.errors import InputError
from data.model_folder import UNREADABLE, require_weights

# weights, settings, vocabularies; not the README
HASHED_SUFFIXES = {".safetensors", ".json", ".txt", ".model"}

Kind = type | UnionType


def read_settings(path: Path, types: Mapping[str, Kind], required: Collection[str] = ()) -> dict[str, Any]:
    """Read a JSON object whose keys are in `types` and whose values have these types, with all `required`
    keys. Raises InputError naming file, key and the accepted values.
    """
    settings = read_object(path)
    for key, value in settings.items():
        if key not in types:
            raise InputError(f"{path}: unknown key {key!r}; known keys: {', '.join(types)}")
        if not isinstance(value, types[key]) or (isinstance(value, bool) and types[key] in (int, int | None)):
            name = getattr(types[key], "__name__", str(types[key]))
            raise InputError(f"{path}: {key} = {json.dumps(value)}: must be {name.replace('None', 'null')}")
    for key in required:
        if key not in settings:
            raise InputError(f"{path}: needs the key {key!r}")
    return settings


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read the tensors of one safetensors file in fp32: name -> shape in `shapes`. Raises InputError for a
    damaged file and for a tensor that is absent or has another shape.
    """
    require_weights(path.parent)
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    for name, shape in shapes.items():
        if name not in tensors or tensors[name].shape != shape:
            description = f"shape {tuple(tensors[name].shape)}" if name in tensors else "nothing"
            raise InputError(f"{path}: needs {name!r} of shape {shape}, has {description}")
    return {name: tensors[name] for name in shapes}


def folder_hash(folder: Path, *facts: object) -> str:
    """SHA-256 over names and bytes of the files that affect a vector, and over `facts` (settings, arithmetic)."""
    digest = hashlib.sha256(repr(facts).encode())
    for path in model_files(folder):
        digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files below `folder` that affect a model or its vectors: weights, settings, vocabularies; sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix in HASHED_SUFFIXES and path.is_file())
