"""The folder of a learned metric: what `python -m reward.learned` writes, and what is read from it.

    metric.json        the family and the settings of its head
    config.json, model.safetensors, tokenizer.json   the transformers model below the head, and its tokenizer
    head.safetensors   what stands on top of it

All of it is read without a pickle, without code from the folder and without a network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from data.documents import user_path
from data.errors import InputError
from data.model_folder import PICKLES, check_model_folder, tensor_shapes
from reward.encoders.folder import Kind, read_settings, read_weights
from reward.encoders.modules import ACTIVATIONS
from reward.encoders.pooled import read_model, read_tokenizer

METRIC_FILE = "metric.json"
HEAD_FILE = "head.safetensors"
TOKENIZER_FILE = "tokenizer.json"
COMMAND = "python -m reward.learned"
Family = Literal["comet", "cometkiwi", "unite", "xcomet", "metricx", "bleurt"]
FAMILIES: tuple[str, ...] = get_args(Family)
NEED_REFERENCE = ("comet", "bleurt")  # families that cannot score without a reference text
NEED_SOURCE = ("comet", "cometkiwi", "unite", "xcomet", "metricx")  # and without a source
IGNORE_REFERENCE = ("cometkiwi",)
MARK_ERRORS = ("xcomet",)  # families that also say which part of an output is wrong
OPTIONAL = ("pooler",)  # parts of a model that no score passes through
LARGEST = {"metricx": 25.0}  # families that count errors: 0 is best, and this is worst


@dataclass(frozen=True)
class Facts:
    """metric.json: the family, and the settings of a head where it has some.

    `layer` is the hidden state that the sentence's score is read from, or "mix" for a weighted sum of all; `mix` makes
    its weights. `word_layer` is that of the labels of words. `max_length`: of an input in tokens.
    """

    family: Family
    layer: int | Literal["mix"] = "mix"
    mix: Literal["softmax", "sparsemax"] = "softmax"
    layer_norm: bool = False
    hidden_sizes: tuple[int, ...] = ()
    activation: str = "Tanh"
    final_activation: str = ""
    word_layer: int = 0
    max_length: int = 512

    @property
    def needs_reference(self) -> bool:
        return self.family in NEED_REFERENCE

    @property
    def needs_source(self) -> bool:
        return self.family in NEED_SOURCE

    @property
    def reads_reference(self) -> bool:
        return self.family not in IGNORE_REFERENCE

    @property
    def marks_errors(self) -> bool:
        return self.family in MARK_ERRORS

    @property
    def better(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return -1 if self.family in LARGEST else 1


TYPES: dict[str, Kind] = {
    "family": str, "layer": int | str, "mix": str, "layer_norm": bool, "hidden_sizes": list, "activation": str,
    "final_activation": str, "word_layer": int, "max_length": int,
}  # fmt: skip


def metric_folder(name: str, place: str = "metric") -> Path:
    """The folder that a setting or an option names. Raises InputError where there is none."""
    folder = user_path(name)
    if not folder.is_dir():
        raise InputError(f"{place} {name!r}: there is no folder {folder}")
    return folder


def read_facts(folder: Path) -> Facts:
    """Read metric.json. Raises InputError for a folder of something else, with the command to type where it is an
    official checkpoint.
    """
    path = folder / METRIC_FILE
    if not path.exists():
        raise InputError(f"{folder}: {_what_it_is(folder)}")
    settings = read_settings(path, TYPES, required=("family",))
    if settings["family"] not in FAMILIES:
        raise InputError(
            f"{path}: family {settings['family']!r} is not known; known families: {', '.join(FAMILIES)}"
        )
    known_values = {"mix": ("softmax", "sparsemax"), "layer": ("mix",)}
    known_values |= dict.fromkeys(("activation", "final_activation"), ("", *ACTIVATIONS))
    for key, known in known_values.items():
        if isinstance(settings.get(key), str) and settings[key] not in known:
            raise InputError(
                f"{path}: {key} = {settings[key]!r} is not known; known values: {', '.join(known)}"
            )
    return Facts(**settings | {"hidden_sizes": tuple(settings.get("hidden_sizes", ()))})


def _what_it_is(folder: Path) -> str:
    has_checkpoint = (folder / "hparams.yaml").exists() or any(
        path for pattern in PICKLES for path in folder.glob(f"**/{pattern}")
    )
    if has_checkpoint:
        return f"is an official checkpoint; convert it once with: {COMMAND} {folder} --base BASE_MODEL_FOLDER --out OUT"
    return f"is no folder of a learned metric: it has no {METRIC_FILE}; {COMMAND} --help says how one is made"


def check_parts(folder: Path) -> None:
    """Raises InputError for a folder without a tokenizer, a head, weights or a model that fits them. Loads nothing."""
    if not (folder / TOKENIZER_FILE).exists():
        raise InputError(f"{folder}: has no {TOKENIZER_FILE}; copy that of the metric's base model there")
    again = f"make the folder again: {COMMAND} --help"
    weights = {file.name for file in folder.glob("*.safetensors")}
    if weights == {HEAD_FILE}:
        raise InputError(f"{folder}: has no model.safetensors; {again}")
    check_model_folder(folder, AutoModel)
    if HEAD_FILE not in weights:
        raise InputError(f"{folder}: has no {HEAD_FILE}; {again}")
    tensor_shapes(folder / HEAD_FILE)


def read_parts(
    folder: Path, shapes: Callable[[Any], Mapping[str, tuple[int, ...]]]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Tensor]]:
    """The model below the head in fp32, its tokenizer, and the tensors of the head, whose `shapes` follow from
    the model's sizes. Raises InputError for what is missing.
    """
    check_parts(folder)
    model = read_model(folder, OPTIONAL)
    return model, read_tokenizer(folder), read_weights(folder / HEAD_FILE, shapes(model.config))
