"""Turns an official checkpoint of a learned metric into a metric folder (reward/learned/folder.py). Tensors are all that
is read of a pickle; names and shapes must be those of the architecture.
"""

import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, RemBertConfig

from data.cache import atomic_folder
from data.documents import read_object
from data.errors import InputError
from data.model_folder import PICKLES, UNREADABLE, first_line, input_errors
from reward.learned.folder import HEAD_FILE, METRIC_FILE, TOKENIZER_FILE, Facts
from reward.learned.metricx import MAX_LENGTH, SCORE_TOKEN
from reward.learned.scores import shapes_of

HPARAMS = "hparams.yaml"
CLASSES = {"regression_metric": "comet", "unified_metric": "", "xcomet_metric": "xcomet"}  # "": by its inputs
SEGMENTS = {("mt", "src"): "cometkiwi", ("mt", "src", "ref"): "unite"}
TOKENIZER_FILES = (TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json")
ENCODER = "encoder.model."
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Parts:
    """What a metric folder is made of."""

    facts: Facts
    config: Any
    body: Tensors
    head: Tensors


def convert(checkpoint: Path, base: Path | None, out: Path) -> Facts:
    """Write the metric folder `out` from the folder of an official checkpoint. `base` has the tokenizer, and for COMET
    the config.json, of the base model; None where the checkpoint's folder has them.

    Raises InputError for pickled objects, an unknown metric, a tensor that is absent or has another shape.
    """
    if out.exists():
        raise InputError(f"--out {out}: exists already; name a new folder")
    tokenizer = base or checkpoint
    if not (tokenizer / TOKENIZER_FILE).exists():
        raise InputError(
            f"{tokenizer}: has no {TOKENIZER_FILE}; give the folder of the metric's base model as --base"
        )
    parts = read_parts(checkpoint, base)
    check_tensors(checkpoint, parts)
    write(parts, tokenizer, out)
    return parts.facts


def read_parts(checkpoint: Path, base: Path | None) -> Parts:
    """Read a checkpoint by what its files say it is."""
    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint}: is no folder; name the one that has {HPARAMS} or config.json")
    if (checkpoint / HPARAMS).exists():
        return _comet(checkpoint, base)
    settings = read_object(checkpoint / "config.json") if (checkpoint / "config.json").exists() else {}
    kind = settings.get("model_type")
    if kind == "mt5" and settings.get("architectures") == ["MT5ForRegression"]:
        return _metricx(checkpoint, settings)
    if kind == "bleurt" or settings.get("architectures") == ["BleurtForSequenceClassification"]:
        return _bleurt(checkpoint, settings)
    raise InputError(
        f"{checkpoint}: is no checkpoint of a known metric: COMET has {HPARAMS}, MetricX a config.json with "
        "architectures MT5ForRegression, BLEURT one with model_type bleurt"
    )


def read_tensors(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of a checkpoint, and the plain settings that are saved with them. Raises InputError for pickled
    objects, which are never made.
    """
    patterns = ("*.safetensors", *PICKLES)
    files = [
        path
        for pattern in patterns
        for path in sorted(folder.rglob(pattern))
        if path.name != "training_args.bin"
    ]
    if not files:
        raise InputError(f"{folder}: no weights ({', '.join(patterns)})")
    if files[0].suffix == ".safetensors":
        return _read_safetensors([file for file in files if file.suffix == ".safetensors"]), {}
    if len(files) > 1:
        raise InputError(
            f"{folder}: has {len(files)} weight files, {files[0].name} and {files[1].name}; leave one"
        )
    return _read_pickle(files[0])


def _read_safetensors(files: Sequence[Path]) -> Tensors:
    try:
        return {name: tensor for file in files for name, tensor in load_file(file).items()}
    except UNREADABLE as error:
        raise InputError(f"{files[0]}: not readable safetensors ({first_line(error)})") from error


def _read_pickle(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: has pickled objects beside its tensors, which can run code, so none of it was read "
            f"({_unsafe(str(error))}); save its state_dict alone"
        ) from error
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    content = content if isinstance(content, dict) else {}
    state = content.get("state_dict", content)
    settings = content.get("hyper_parameters", {})
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    return tensors, dict(settings) if isinstance(settings, Mapping) else {}


def _unsafe(message: str) -> str:
    """The name of the object in torch's message, or its first words."""
    _, _, after = message.partition("GLOBAL ")
    return after.split()[0] if after else message.split(".")[0][:100]


def _comet(checkpoint: Path, base: Path | None) -> Parts:
    tensors, saved = read_tensors(checkpoint)
    written = read_yaml(checkpoint / HPARAMS)
    facts = comet_facts(checkpoint / HPARAMS, written, written | saved)
    if base is None:
        raise InputError(
            f"{checkpoint}: give the folder of {written.get('pretrained_model', 'its encoder')} as --base"
        )
    config = _config(base)
    body = {
        name.removeprefix(ENCODER): tensor for name, tensor in tensors.items() if name.startswith(ENCODER)
    }
    return Parts(
        facts,
        config,
        body,
        {name: tensor for name, tensor in tensors.items() if not name.startswith(ENCODER)},
    )


def comet_facts(path: Path, written: Mapping[str, Any], settings: Mapping[str, Any]) -> Facts:
    """From hparams.yaml, and from the settings in the checkpoint, which the COMET package prefers. Raises InputError for
    a model of another class.
    """
    name = written.get("class_identifier")
    if name not in CLASSES:
        raise InputError(
            f"{path}: class_identifier {name!r} is no metric known here; known: {', '.join(CLASSES)}"
        )
    segments = tuple(settings.get("input_segments") or ())
    family = CLASSES[name] or SEGMENTS.get(segments)
    if family is None:
        raise InputError(
            f"{path}: input_segments {list(segments)} are not known; known: {', '.join(map(str, map(list, SEGMENTS)))}"
        )
    if name == "regression_metric" and settings.get("pool", "avg") != "avg":
        raise InputError(f"{path}: pool {settings['pool']!r} is not known here, only 'avg'")
    # "sparsemax_patch" is how that package marks models that were trained with a softmax
    both = {one.get("layer_transformation") for one in (written, settings)}
    mix: Literal["softmax", "sparsemax"] = "sparsemax" if both == {"sparsemax"} else "softmax"
    return Facts(
        family=family,  # type: ignore[arg-type]
        layer=settings.get("layer" if family == "comet" else "sent_layer", "mix"),
        mix=mix,
        layer_norm=bool(settings.get("layer_norm", False)),
        hidden_sizes=tuple(settings.get("hidden_sizes", ())),
        activation=str(settings.get("activations") or "Tanh").title(),
        final_activation=str(settings.get("final_activation") or "").title(),
        word_layer=int(settings.get("word_layer") or 0) if family == "xcomet" else 0,
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values. Raises InputError for anything else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no plain YAML ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold settings, one a line")
    return content


def _metricx(checkpoint: Path, settings: Mapping[str, Any]) -> Parts:
    tensors, _ = read_tensors(checkpoint)
    config = _config(checkpoint)
    matrix = tensors.pop("lm_head.weight", tensors.get("shared.weight", torch.empty(0, 0)))
    if len(matrix) <= SCORE_TOKEN:
        raise InputError(
            f"{checkpoint}: its output matrix has {len(matrix)} rows, and the score is row {SCORE_TOKEN}"
        )
    # as T5 does with a tied matrix
    scale = config.d_model**-0.5 if settings.get("tie_word_embeddings") else 1.0
    head = {"score.weight": scale * matrix[SCORE_TOKEN : SCORE_TOKEN + 1].clone()}
    return Parts(Facts(family="metricx", max_length=MAX_LENGTH), config, tensors, head)


def _bleurt(checkpoint: Path, settings: Mapping[str, Any]) -> Parts:
    if not settings.get("embedding_size"):
        raise InputError(
            f"{checkpoint / 'config.json'}: no embedding_size, so it is no BLEURT-20; older ones are not known here"
        )
    tensors, _ = read_tensors(checkpoint)
    names = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
        "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id",
    )  # fmt: skip
    config = RemBertConfig(
        **{name: settings[name] for name in names if name in settings},
        input_embedding_size=settings["embedding_size"],
    )
    head = {name: tensors.pop(name) for name in list(tensors) if name.startswith("classifier.")}
    body = {
        name.removeprefix("bleurt.").replace("embedding_projection", "embedding_hidden_mapping_in"): tensor
        for name, tensor in tensors.items()
    }
    head |= {name.replace(".dense", ""): body.pop(name) for name in list(body) if name.startswith("pooler.")}
    length = int(settings.get("max_position_embeddings", 512))
    return Parts(Facts(family="bleurt", max_length=length), config, body, head)


def _config(folder: Path) -> Any:
    with input_errors(folder, "no config.json that transformers knows"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def check_tensors(checkpoint: Path, parts: Parts) -> None:
    """Raises InputError for the first tensor of the architecture that the checkpoint lacks or has in another shape."""
    with torch.device("meta"):
        model = AutoModel.from_config(parts.config, trust_remote_code=False)
    body = {
        name: tuple(one.shape) for name, one in model.named_parameters() if not name.startswith("pooler.")
    }
    for tensors, shapes in ((parts.body, body), (parts.head, shapes_of(parts.facts, parts.config))):
        for name, shape in shapes.items():
            tensor = tensors.get(name)
            if tensor is None or tuple(tensor.shape) != shape:
                own = "is absent" if tensor is None else f"has shape {tuple(tensor.shape)}"
                raise InputError(
                    f"{checkpoint}: {name} {own}; a {parts.facts.family} over {parts.config.model_type} has it in shape {shape}"
                )
        for name in tensors.keys() - shapes.keys():
            del tensors[name]


def write(parts: Parts, tokenizer: Path, out: Path) -> None:
    """Write the folder, whole or not at all."""
    with atomic_folder(out) as work:
        for file, tensors in (("model.safetensors", parts.body), (HEAD_FILE, parts.head)):
            whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(whole, work / file, metadata={"format": "pt"})
        parts.config.save_pretrained(work)
        for name in TOKENIZER_FILES:
            if (tokenizer / name).exists():
                shutil.copyfile(tokenizer / name, work / name)
        (work / METRIC_FILE).write_text(json.dumps(asdict(parts.facts), indent=1) + "\n", encoding="utf-8")
