"""Loads the sentence encoder that `reward.encoder` names, and checks the rows it gives.

    use             multilingual Universal Sentence Encoder, from its package             encoders/use.py
    bo              the distilled Tibetan encoder, newest in the cache                    encoders/student.py
    FOLDER          with student.json: a student                                          encoders/student.py
                    with modules.json: sentence-transformers                              encoders/modules.py
                    with config.json: a transformers encoder, pooled by encoder.json      encoders/pooled.py
    static:FOLDER   mean of a matrix's rows: static or input embeddings                   encoders/static.py

A new kind is a class with the three members of `Encoder` in a file of its own, and a row in BY_NAME or
BY_FILE. The cache of vectors is `reward.embedding`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from data.documents import user_path
from data.errors import InputError
from data.model_folder import require_weights
from reward.encoders.modules import MODULES_FILE, load_modules
from reward.encoders.pooled import load_pooled
from reward.encoders.static import load_static
from reward.encoders.student import FACTS_FILE, find_student, load_student, teacher_of
from reward.encoders.use import load_use
from reward.encoders.use_weights import package_files

STATIC = "static:"
UNIT = 1e-3  # tolerance of a row's length, which is 1


class Encoder(Protocol):
    """A frozen encoder, text -> vector. `fingerprint` changes whenever a vector could: it names the folder in
    the disk cache.
    """

    dim: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU; row i depends on texts[i] alone."""
        ...


def _use(cache: Path, device: torch.device) -> Encoder:
    return load_use(device)  # its weights are in its package: nothing to keep in the cache


def _bo(cache: Path, device: torch.device) -> Encoder:
    return _student(find_student(cache), device)


def _student(folder: Path, device: torch.device) -> Encoder:
    return load_student(folder, load_encoder(teacher_of(folder), folder.parent, device))


BY_NAME: dict[str, Callable[[Path, torch.device], Encoder]] = {"use": _use, "bo": _bo}

# the first of these files that a folder has says what it is
BY_FILE: dict[str, Callable[[Path, torch.device], Encoder]] = {
    FACTS_FILE: _student,
    MODULES_FILE: load_modules,
    "config.json": load_pooled,
}


def check_encoder(name: str, cache: Path, setting: str = "reward.encoder") -> None:
    """Raises InputError, which names the `setting`, for an unknown name, an encoder that was not made yet, and a folder that is missing
    or lacks files. Loads nothing.
    """
    if name == "bo":
        find_student(cache, setting)
    if name == "use":
        package_files()
    if name in BY_NAME:
        return
    folder = user_path(name.removeprefix(STATIC))
    if not name.removeprefix(STATIC).strip():
        raise InputError(
            f"{setting} = {name!r} names no encoder; write one of {', '.join(BY_NAME)}, or a folder"
        )
    if not name.startswith(STATIC) and "/" not in name and not folder.exists():
        raise InputError(
            f"{setting}: unknown encoder {name!r}; known encoders: {', '.join(BY_NAME)}, a folder, {STATIC}FOLDER"
        )
    if not folder.is_dir():
        raise InputError(
            f"{setting}: {name!r}: there is no folder {folder}; download the model into one, as names of a hub are "
            f"not read, or write one of {', '.join(BY_NAME)}"
        )
    if name.startswith(STATIC):
        require_weights(folder)
        files = ["tokenizer.json"]
    else:
        files = list(BY_FILE)
    if not any((folder / file).exists() for file in files):
        raise InputError(f"{setting}: {folder} is no encoder folder: it has no {' and no '.join(files)}")


def encoder_folder(name: str, cache: Path) -> Path | None:
    """The folder with the files of encoder `name`; None for an encoder whose weights are in its package."""
    if name == "bo":
        return find_student(cache)
    folder = user_path(name.removeprefix(STATIC))
    return folder if name not in BY_NAME and folder.is_dir() else None


def load_encoder(name: str, cache: Path, device: torch.device, setting: str = "reward.encoder") -> Encoder:
    """Load the encoder called `name`, which `setting` names; `cache` has the encoders that were made here. Raises
    InputError for files that cannot be read.
    """
    check_encoder(name, cache, setting)
    if name in BY_NAME:
        return BY_NAME[name](cache, device)
    folder = user_path(name.removeprefix(STATIC))
    if name.startswith(STATIC):
        return load_static(folder)
    kind = next(file for file in BY_FILE if (folder / file).exists())
    return BY_FILE[kind](folder, device)


def check_unit_rows(rows: Tensor, texts: Sequence[str], dim: int, name: str) -> Tensor:
    """Return the encoder's rows for `texts` as fp32 on the CPU: unit rows (n, dim).

    Raises InputError for another shape, and names the text whose row is not finite or not of unit length;
    `name` is the encoder's.
    """
    if rows.shape != (len(texts), dim):
        raise InputError(
            f"encoder {name}: gave rows of shape {tuple(rows.shape)} for {len(texts)} texts of {dim} numbers each"
        )
    rows = rows.float().cpu()
    lengths = rows.double().norm(dim=1)  # not finite where a number of the row is not
    bad_rows = (~((lengths - 1).abs() <= UNIT)).nonzero().flatten().tolist()
    if bad_rows:
        row = bad_rows[0]
        raise InputError(
            f"encoder {name}: the vector of {texts[row][:200]!r} has length {lengths[row].item():.4g} instead of 1"
        )
    return rows
