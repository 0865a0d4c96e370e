"""The frozen sentence encoders behind one signature: what `reward.encoder` may say, and the check of what
comes out.

    use              multilingual Universal Sentence Encoder, from its package                       reward/encoders/use.py
    bo               the distilled Tibetan encoder, newest in the cache                              reward/encoders/student.py
    FOLDER           whatever its files say: student.json, modules.json (sentence-transformers),     reward/encoders/modules.py
                     config.json (a transformers encoder, pooled as encoder.json says)               reward/encoders/pooled.py
    static:FOLDER    mean of a matrix's rows: static embeddings, or a causal LM's input embedding    reward/encoders/static.py

A new kind is a class with the three members of `Encoder`, its own file, and a line in one of the tables. Not
here: a cache of vectors.
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

STATIC = "static:"
UNIT = 1e-3  # a row's length may differ from 1 by so much


class Encoder(Protocol):
    """Text -> vector, frozen. `fingerprint` changes whenever a vector could: it names the disk cache."""

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


NAMED: dict[str, Callable[[Path, torch.device], Encoder]] = {"use": _use, "bo": _bo}

BY_FILE: dict[
    str, Callable[[Path, torch.device], Encoder]
] = {  # the first of these files that a folder has says what it is
    FACTS_FILE: _student,
    MODULES_FILE: load_modules,
    "config.json": load_pooled,
}


def check_encoder(name: str, cache: Path) -> None:
    """InputError for an unknown name, one that was not built yet, a folder that is missing or without its
    files; nothing is loaded.
    """
    if name == "bo":
        find_student(cache)
    if name in NAMED:
        return
    folder = user_path(name.removeprefix(STATIC))
    if not name.startswith(STATIC) and "/" not in name and not folder.exists():
        raise InputError(
            f"reward.encoder: unknown encoder {name!r}; known encoders: {', '.join(NAMED)}, a folder, {STATIC}FOLDER"
        )
    if not folder.is_dir():
        raise InputError(f"reward.encoder: {name!r}: there is no folder {folder}")
    if name.startswith(STATIC):
        require_weights(folder)
        needed = ["tokenizer.json"]
    else:
        needed = list(BY_FILE)
    if not any((folder / file).exists() for file in needed):
        raise InputError(
            f"reward.encoder: {folder} is no encoder folder: it has no {' and no '.join(needed)}"
        )


def encoder_folder(name: str, cache: Path) -> Path | None:
    """The folder that the files of encoder `name` lie in; None for one whose weights are in its package."""
    if name == "bo":
        return find_student(cache)
    folder = user_path(name.removeprefix(STATIC))
    return folder if name not in NAMED and folder.is_dir() else None


def load_encoder(name: str, cache: Path, device: torch.device) -> Encoder:
    """The encoder called `name`; `cache` is where one that was built here lies. InputError for what cannot be
    read.
    """
    check_encoder(name, cache)
    if name in NAMED:
        return NAMED[name](cache, device)
    folder = user_path(name.removeprefix(STATIC))
    if name.startswith(STATIC):
        return load_static(folder)
    kind = next(file for file in BY_FILE if (folder / file).exists())
    return BY_FILE[kind](folder, device)


def checked_rows(rows: Tensor, texts: Sequence[str], dim: int, name: str) -> Tensor:
    """The encoder's answer for `texts`: unit rows (n, dim) as fp32 on the CPU. InputError for any other
    shape, or naming the text whose row is not finite or not of unit length; `name` says which encoder.
    """
    if rows.shape != (len(texts), dim):
        raise InputError(
            f"encoder {name}: gave rows of shape {tuple(rows.shape)} for {len(texts)} texts of {dim} numbers each"
        )
    rows = rows.float().cpu()
    lengths = rows.double().norm(dim=1)  # not finite where a number of the row is not
    if wrong := (~((lengths - 1).abs() <= UNIT)).nonzero().flatten().tolist():
        row = wrong[0]
        raise InputError(
            f"encoder {name}: the vector of {texts[row][:200]!r} has length {lengths[row].item():.4g} instead of 1"
        )
    return rows
