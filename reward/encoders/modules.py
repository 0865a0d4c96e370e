"""Runs a sentence-transformers folder without sentence-transformers: modules.json lists the modules, and the
usual ones are here.

The chain is Transformer and Pooling, or StaticEmbedding; then any number of Dense and Normalize. Folders of
every release are read: the old flags `pooling_mode_*` and the new `pooling_mode`. The prompt called
`default_prompt_name` precedes every text, as in that library's `encode`. The vectors equal its own within
1e-5 (a test runs both) and are unit rows whether or not the folder ends in Normalize. Not here: other
modules, other kinds of input, code from the folder.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.documents import read_json, read_object
from data.errors import InputError
from reward.encoders.folder import Kind, folder_hash, read_settings, read_weights
from reward.encoders.pooled import PooledEncoder, PoolSettings, make_pooled_encoder, pooling_names
from reward.encoders.pooling import BLOCK_ROWS, Head, in_blocks
from reward.encoders.static import StaticEncoder, load_static

MODULES_FILE = "modules.json"
PROMPTS_FILE = "config_sentence_transformers.json"
LONGEST_NAME = 255  # bytes
FIRST = ("Transformer", "StaticEmbedding")
HEADS = ("Dense", "Normalize")
FLAGS = {  # of older folders, in the order in which their poolings are put side by side
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda rows: rows,
    "Tanh": torch.tanh,
    "ReLU": F.relu,
    "GELU": F.gelu,
    "SiLU": F.silu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Module:
    """One line of modules.json: the last word of its type, and its folder."""

    kind: str
    folder: Path


@dataclass(frozen=True)
class Dense:
    """activation(x W^T + b), plus x itself or its projection where the folder asks for a residual: (n, in) ->
    (n, out).
    """

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    residual: Callable[[Tensor], Tensor] | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        out = self.activation(F.linear(rows, self.weight, self.bias))
        return out if self.residual is None else out + self.residual(rows)


class ModulesEncoder:
    """Runs `body`, then `heads`, then scales to unit length. `prompt` precedes every text unless the body adds it."""

    def __init__(
        self,
        body: PooledEncoder | StaticEncoder,
        heads: Sequence[Head],
        dim: int,
        prompt: str,
        fingerprint: str,
    ) -> None:
        self.body = body
        self.heads = heads
        self.dim = dim
        self.prompt = prompt
        self.fingerprint = fingerprint

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32 also under autocast, on the CPU; row i depends on texts[i] alone."""
        rows = self.body.vectors([self.prompt + text for text in texts])
        with torch.autocast("cpu", enabled=False):
            for head in self.heads:
                rows = in_blocks(head, rows)
        return F.normalize(rows, dim=1)


def load_modules(folder: Path, device: torch.device) -> ModulesEncoder:
    """Load a sentence-transformers folder. Raises InputError naming the file, key or module that is not supported."""
    first, *rest = read_modules(folder)
    prompt = read_prompt(folder / PROMPTS_FILE)
    body: PooledEncoder | StaticEncoder
    if first.kind == "StaticEmbedding":
        body = load_static(first.folder)
    else:
        pooling, *rest = rest
        body = _transformer(first.folder, pooling.folder / "config.json", prompt, device)
        prompt = ""
    heads: list[Head] = []
    dim = body.dim
    for module in rest:
        head, dim = (
            read_dense(module.folder, dim) if module.kind == "Dense" else (read_normalize(module.folder), dim)
        )
        heads.append(head)
    parts = [
        body.fingerprint,
        prompt,
        f"blocks of {BLOCK_ROWS} rows",
        *(f"{m.kind} {folder_hash(m.folder)}" for m in rest),
    ]
    return ModulesEncoder(body, heads, dim, prompt, hashlib.sha256("\n".join(parts).encode()).hexdigest())


def read_modules(folder: Path) -> list[Module]:
    """Read modules.json as a chain that can be run. Raises InputError for an unknown module or one in the
    wrong place.
    """
    path = folder / MODULES_FILE
    entries = read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and {"type", "path"} <= entry.keys() for entry in entries
    ):
        raise InputError(f"{path}: must hold a list of modules with 'type' and 'path'")
    modules = [_module(path, str(entry["type"]), str(entry["path"])) for entry in entries]
    kinds = [module.kind for module in modules]
    heads_from = 2 if kinds[:2] == ["Transformer", "Pooling"] else 1
    starts_well = kinds[:1] == ["StaticEmbedding"] or heads_from == 2
    if not starts_well or not set(kinds[heads_from:]) <= set(HEADS):
        chain = ", ".join(kinds) or "none"
        raise InputError(
            f"{path}: modules {chain}: must be Transformer, Pooling or StaticEmbedding, and then only {' or '.join(HEADS)}"
        )
    return modules


def _module(path: Path, kind: str, inner: str) -> Module:
    name = kind.rsplit(".", 1)[-1]
    known_types = (*FIRST, "Pooling", *HEADS)
    if name not in known_types or not kind.startswith("sentence_transformers."):
        raise InputError(
            f"{path}: unknown module type {kind!r}; known types: {', '.join(known_types)} of sentence_transformers"
        )
    if PurePosixPath(inner).is_absolute() or ".." in PurePosixPath(inner).parts:
        raise InputError(f"{path}: path {inner!r} leads out of the folder")
    if len(inner.encode()) > LONGEST_NAME:
        raise InputError(f"{path}: a path of {len(inner):,} characters; the name of a folder is needed")
    return Module(name, path.parent / inner)


def read_prompt(path: Path) -> str:
    """The prompt that the folder puts before every text; "" where it names none."""
    if not path.exists():
        return ""
    settings = read_object(path)
    name = settings.get("default_prompt_name")
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        isinstance(prompt, str | None) for prompt in prompts.values()
    ):
        raise InputError(f"{path}: prompts must be an object of texts by name")
    if settings.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise InputError(
            f"{path}: a {settings['model_type']} folder gives no sentence vectors; use a SentenceTransformer folder"
        )
    if name is not None and (not isinstance(name, str) or name not in prompts):
        raise InputError(
            f"{path}: default_prompt_name {name!r} is none of its prompts: {', '.join(prompts) or 'none'}"
        )
    return "" if name is None else prompts[name] or ""


def read_pooling(path: Path) -> tuple[tuple[str, ...], bool, int]:
    """config.json of a Pooling: the poolings to concatenate, whether the prompt's tokens count, the width of
    a token vector.
    """
    widths: dict[str, Kind] = {"embedding_dimension": int, "word_embedding_dimension": int}
    settings = read_settings(
        path, {**widths, **dict.fromkeys(FLAGS, bool), "pooling_mode": str | list, "include_prompt": bool}
    )
    width = next((settings[key] for key in widths if key in settings), None)
    if width is None:
        raise InputError(f"{path}: needs the key 'embedding_dimension'")
    flag_names = [name for flag, name in FLAGS.items() if settings.get(flag)]
    return (
        pooling_names(path, settings.get("pooling_mode", flag_names or "mean")),
        settings.get("include_prompt", True),
        width,
    )


def read_transformer(folder: Path) -> tuple[int | None, bool]:
    """sentence_bert_config.json of a Transformer: the most tokens of a text (None = the model's limit), and
    whether it is lower-cased.
    """
    constants = {
        "transformer_task": "feature-extraction",
        "module_output_name": "token_embeddings",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    }
    free: dict[str, Kind] = {"max_seq_length": int | None, "do_lower_case": bool, "unpad_inputs": bool | None}
    path = next(iter(sorted(folder.glob("sentence_*_config.json"))), None)
    settings = read_settings(path, {**free, **dict.fromkeys(constants, object)}) if path else {}
    for key, value in constants.items():
        if settings.get(key, value) != value:
            raise InputError(f"{path}: {key} = {settings[key]!r}: only {value!r} is known here")
    if settings.get("max_seq_length") is not None and settings["max_seq_length"] < 1:
        raise InputError(
            f"{path}: max_seq_length = {settings['max_seq_length']}: must be at least 1, or null"
        )
    return settings.get("max_seq_length"), settings.get("do_lower_case", False)


def read_dense(folder: Path, width: int) -> tuple[Dense, int]:
    """The head in a Dense folder and its output width. Raises InputError where it does not take rows of
    `width` numbers.
    """
    path = folder / "config.json"
    sizes: dict[str, Kind] = {"in_features": int, "out_features": int}
    names: dict[str, Kind] = {
        "activation_function": str,
        "module_input_name": str,
        "module_output_name": str | None,
    }
    settings = read_settings(path, {**sizes, **names, "bias": bool, "use_residual": bool}, required=sizes)
    in_size = settings["in_features"]
    out_size = settings["out_features"]
    if in_size != width:
        raise InputError(f"{path}: in_features = {in_size}, but the module before it gives {width} numbers")
    check_ends(path, settings)
    is_residual = settings.get("use_residual", False)
    has_projection = in_size != out_size
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (out_size, in_size)}
    shapes |= {"linear.bias": (out_size,)} if settings.get("bias", True) else {}
    shapes |= {"residual.weight": (out_size, in_size)} if is_residual and has_projection else {}
    tensors = read_weights(folder / "model.safetensors", shapes)
    residual: Head = (
        partial(F.linear, weight=tensors["residual.weight"])
        if is_residual and has_projection
        else ACTIVATIONS["Identity"]
    )
    activation = read_activation(path, settings.get("activation_function", "torch.nn.Tanh"))
    return Dense(
        tensors["linear.weight"], tensors.get("linear.bias"), activation, residual if is_residual else None
    ), out_size


def read_normalize(folder: Path) -> Head:
    """The head of a Normalize folder, which older releases did not write."""
    path = folder / "config.json"
    check_ends(path, read_object(path) if path.exists() else {})
    return partial(F.normalize, dim=1)


def read_activation(path: Path, class_name: str) -> Head:
    """The function for a torch class name in the file `path`. Raises InputError for one that is not in ACTIVATIONS."""
    name = class_name.rsplit(".", 1)[-1]
    if name not in ACTIVATIONS or not class_name.startswith("torch.nn."):
        raise InputError(
            f"{path}: unknown activation_function {class_name!r}; known: {', '.join(ACTIVATIONS)} of torch.nn"
        )
    return ACTIVATIONS[name]


def check_ends(path: Path, settings: Mapping[str, Any]) -> None:
    """Raises InputError for a head whose input or output is not the sentence's vector."""
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key) not in (None, "sentence_embedding"):
            raise InputError(f"{path}: {key} = {settings[key]!r}: only 'sentence_embedding' is known here")


def _transformer(folder: Path, pooling: Path, prompt: str, device: torch.device) -> PooledEncoder:
    names, include_prompt, width = read_pooling(pooling)
    max_length, lower_case = read_transformer(folder)
    body = make_pooled_encoder(
        folder, PoolSettings(names, prompt, max_length, include_prompt, lower_case), device
    )
    if width * len(names) != body.dim:
        raise InputError(
            f"{pooling}: a token vector of {width} numbers, but the transformer gives {body.dim // len(names)}"
        )
    return body
