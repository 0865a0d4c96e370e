"""Tiny random learned metrics of the true architecture, as folders in the official layout, with the segments to score.

The tests and the comparison with the reference packages use the same ones.
"""

import json
import random
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AutoModel,
    MT5Config,
    MT5ForConditionalGeneration,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RemBertConfig,
    RemBertModel,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)

from reward.learned.convert import ENCODER, comet_facts
from reward.learned.metricx import SCORE_TOKEN
from reward.learned.scores import shapes_of

LETTERS = [*"abcdefghijklmnopqrstuvwxyz,.:", *"ཀཁགངཅ", *"打开文件"]
SPECIAL = {
    "xlmr": ("<s>", "<pad>", "</s>", "<unk>"),
    "rembert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    "mt5": ("<pad>", "</s>", "<unk>"),
}
ENDS = {"xlmr": ("<s>", "</s>"), "rembert": ("[CLS]", "[SEP]"), "mt5": ("", "</s>")}
POSITIONS = 64  # tokens of the longest input; texts of the segments are longer now and then
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
COMET: dict[str, dict[str, Any]] = {  # a row is what hparams.yaml says beside the settings of all
    "comet": {"class_identifier": "regression_metric", "layer": "mix", "layer_transformation": "sparsemax"},
    "comet_norm": {"class_identifier": "regression_metric", "layer": "mix", "layer_norm": True, "final_activation": "Sigmoid"},
    "comet_layer": {"class_identifier": "regression_metric", "layer": 1},
    "cometkiwi": {"class_identifier": "unified_metric", "input_segments": ["mt", "src"], "word_level_training": True, "word_layer": 2},
    "unite": {"class_identifier": "unified_metric", "input_segments": ["mt", "src", "ref"], "layer_norm": True},
    "xcomet": {"class_identifier": "xcomet_metric", "word_layer": 2, "encoder_model": "XLM-RoBERTa-XL"},
}  # fmt: skip
ALL = {
    "encoder_model": "XLM-RoBERTa", "hidden_sizes": [24, 12], "activations": "Tanh", "layer_norm": False,
    "layer_transformation": "softmax",
}  # fmt: skip
NAMES = (*COMET, "metricx", "bleurt")


def letter_tokenizer(tokens: Sequence[str], begin: str, end: str, **settings: Any) -> PreTrainedTokenizerFast:
    """One token a letter, `begin` and `end` around a text; `tokens` have a special one with "pad" and one with "unk"."""
    pad, unk = (next(token for token in tokens if name in token.lower()) for name in ("pad", "unk"))
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")]
    )
    special = [(token, tokens.index(token)) for token in (begin, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}".strip(), special_tokens=special
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unk, eos_token=end, **settings
    )


def write_tokenizer(folder: Path, kind: str) -> int:
    """A tokenizer of letters with the family's special tokens. Returns the size of the vocabulary."""
    begin, end = ENDS[kind]
    tokens = [*SPECIAL[kind], *LETTERS]
    more = {"bos_token": begin, "cls_token": begin} if begin else {}
    letter_tokenizer(tokens, begin, end, sep_token=end, **more).save_pretrained(folder)
    return len(tokens)


def write_base(folder: Path, kind: str) -> Path:
    """The base model of a metric, of which only config.json and the tokenizer are needed: xlmr, xlmr_xl, rembert, mt5."""
    vocabulary = write_tokenizer(folder, kind.removesuffix("_xl"))
    makers = {"xlmr": XLMRobertaConfig, "xlmr_xl": XLMRobertaXLConfig}
    if kind in makers:
        config: PretrainedConfig = makers[kind](
            **SIZES, vocab_size=vocabulary, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
            max_position_embeddings=POSITIONS + 2, initializer_range=0.4, hidden_act="gelu",
        )  # fmt: skip
        config.save_pretrained(folder)
    return folder


def random_tensors(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Random tensors that follow from their names alone; the weights of norms are around 1."""

    def tensor(name: str, shape: Sequence[int]) -> Tensor:
        values = 0.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        is_scale = name.lower().endswith(("layernorm.weight", "layer_norm.weight"))
        return 1 + values if is_scale else values

    return {name: tensor(name, shape) for name, shape in shapes.items()}


def shapes_in(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def write_checkpoint(name: str, folder: Path, bases: Path) -> tuple[Path, Path]:
    """One metric in the official layout, and the folder of its base model. `bases` gets the latter."""
    kind = {"xcomet": "xlmr_xl", "metricx": "mt5", "bleurt": "rembert"}.get(name, "xlmr")
    base = write_base(bases / kind, kind)
    folder.mkdir(parents=True)
    {"metricx": _write_metricx, "bleurt": _write_bleurt}.get(name, _write_comet)(name, folder, base)
    return folder, base


def _write_comet(name: str, folder: Path, base: Path) -> None:
    """hparams.yaml and checkpoints/model.ckpt, as the trainer of COMET saves them."""
    settings = ALL | COMET[name]
    key = "layer" if name.startswith("comet_") or name == "comet" else "sent_layer"
    settings.setdefault(key, "mix")
    facts = comet_facts(folder, settings, settings)
    config = (XLMRobertaXLConfig if name == "xcomet" else XLMRobertaConfig).from_pretrained(base)
    with torch.device("meta"):
        encoder = shapes_in(AutoModel.from_config(config, add_pooling_layer=False))
    shapes = {f"{ENCODER}{key}": shape for key, shape in encoder.items()} | shapes_of(facts, config)
    labels = {"error_labels": ["minor", "major", "critical"]} if name == "xcomet" else {}
    hparams = (
        settings
        | labels
        | {"pretrained_model": str(base), "load_pretrained_weights": False, "local_files_only": True}
    )
    (folder / "checkpoints").mkdir()
    (folder / "hparams.yaml").write_text(yaml.safe_dump(hparams), encoding="utf-8")
    saved = {key: value for key, value in hparams.items() if key != "class_identifier"}
    content = {"state_dict": random_tensors(shapes), "hyper_parameters": saved, "epoch": 1, "global_step": 9}
    content["pytorch-lightning_version"] = "2.0.0"
    torch.save(content, folder / "checkpoints" / "model.ckpt")


def _write_metricx(name: str, folder: Path, base: Path) -> None:
    config = MT5Config(
        vocab_size=SCORE_TOKEN + 23, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_decoder_layers=2, num_heads=2,
        tie_word_embeddings=False, pad_token_id=0, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        shapes = shapes_in(MT5ForConditionalGeneration(config))
    state = random_tensors(shapes | {"lm_head.weight": torch.Size((config.vocab_size, config.d_model))})
    state["lm_head.weight"][SCORE_TOKEN] *= 12
    torch.save(state, folder / "pytorch_model.bin")
    _write_json(
        folder / "config.json",
        config.to_dict() | {"architectures": ["MT5ForRegression"], "tie_word_embeddings": False},
    )


def _write_bleurt(name: str, folder: Path, base: Path) -> None:
    """The port of BLEURT-20 to torch: a RemBERT whose parts have other names."""
    vocabulary = len(SPECIAL["rembert"]) + len(LETTERS)
    config = RemBertConfig(
        **SIZES,
        vocab_size=vocabulary,
        input_embedding_size=8,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
    )
    with torch.device("meta"):
        shapes = {
            f"bleurt.{key.replace('embedding_hidden_mapping_in', 'embedding_projection')}": shape
            for key, shape in shapes_in(RemBertModel(config)).items()
        }
    state = random_tensors(
        shapes | {"classifier.weight": torch.Size((1, 16)), "classifier.bias": torch.Size((1,))}
    )
    torch.save(state, folder / "pytorch_model.bin")
    facts = {
        **SIZES, "vocab_size": vocabulary, "embedding_size": 8, "max_position_embeddings": POSITIONS, "pad_token_id": 0,
        "type_vocab_size": 2, "hidden_act": config.hidden_act, "layer_norm_eps": config.layer_norm_eps,
        "model_type": "bleurt", "architectures": ["BleurtForSequenceClassification"], "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0}, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    _write_json(folder / "config.json", facts)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def segments(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Random segments: texts of 0 to 40 letters and a few of up to 100, some outputs equal to the reference text."""
    draw = random.Random(seed)

    def text() -> str:
        length = draw.randrange(100 if draw.random() < 0.05 else 40)
        return " ".join("".join(draw.choices(LETTERS, k=draw.randint(1, 9))) for _ in range(length // 5))

    rows = [{"src": text(), "mt": text(), "ref": text()} for _ in range(count)]
    return [row | {"mt": row["ref"]} if i % 10 == 0 else row for i, row in enumerate(rows)]
