"""Tiny random encoders as folders on disk, laid out as transformers and sentence-transformers lay them
out.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from benchmarks.tiny_metrics import letter_tokenizer

HIDDEN = 16
POSITIONS = 40
LETTERS = [*"abcdefghijklmnopqrstuvwxyzABC,.", *"打开文件关闭窗口"]
SPECIAL = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
    "xlmr": ["<s>", "<pad>", "</s>", "<unk>"],
    "llama": ["<pad>", "<unk>", "<s>", "</s>"],
}
ENDS = {"bert": ("[CLS]", "[SEP]"), "xlmr": ("<s>", "</s>"), "llama": ("", "</s>")}
TEXTS = [
    "a",
    "abc",
    "hello, world.",
    "打开文件",
    "文件打开",
    "关闭窗口 abc",
    "abcdefghijklmnop",
    "z" * 90,
    "ABC",
    "x y z",
    "q" * 15,
    "q" * 14,
]


def tokenizer(family: str, **settings: Any) -> PreTrainedTokenizerFast:
    """One token a letter, the family's special tokens around the text."""
    return letter_tokenizer([*SPECIAL[family], *LETTERS], *ENDS[family], **settings)


def model(family: str) -> PreTrainedModel:
    """Two layers with weights large enough for vectors to differ."""
    vocabulary = len(SPECIAL[family]) + len(LETTERS)
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    }  # fmt: skip
    sizes |= {
        "initializer_range": 0.4,
        "pad_token_id": SPECIAL[family].index("<pad>" if family != "bert" else "[PAD]"),
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if family == "bert":
            return BertModel(BertConfig(**sizes, max_position_embeddings=POSITIONS))
        if family == "xlmr":
            return XLMRobertaModel(
                XLMRobertaConfig(**sizes, max_position_embeddings=POSITIONS + 2, type_vocab_size=1)
            )
        return LlamaModel(LlamaConfig(**sizes, max_position_embeddings=POSITIONS))


def body_folder(folder: Path, family: str = "bert", **tokenizer_settings: Any) -> Path:
    """A transformers folder."""
    model(family).save_pretrained(folder)
    tokenizer(family, **tokenizer_settings).save_pretrained(folder)
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_modules(folder: Path, *kinds: str) -> list[Path]:
    """modules.json as older releases wrote it; the folder of every module but the first, which lies at the
    top.
    """
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds[1:], start=1))]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    write_json(folder / "modules.json", entries)
    return [folder / path for path in paths[1:]]


def pooled_folder(
    folder: Path,
    family: str = "bert",
    pooling: dict[str, Any] | None = None,
    heads: tuple[str, ...] = (),
    **settings: Any,
) -> Path:
    """A sentence-transformers folder: transformer, pooling, and `heads` (Dense halves the width)."""
    body_folder(folder, family, **settings)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    pooling_at, *heads_at = write_modules(folder, "Transformer", "Pooling", *heads)
    pooling = pooling or {"pooling_mode_mean_tokens": True}
    write_json(pooling_at / "config.json", {"word_embedding_dimension": HIDDEN, **pooling})
    width = HIDDEN * sum(value is True for key, value in pooling.items() if key.startswith("pooling_mode"))
    for head, at in zip(heads, heads_at, strict=True):
        if head == "Dense":
            write_dense(at, width, width // 2)
            width //= 2
    return folder


def write_dense(
    folder: Path,
    takes: int,
    gives: int,
    activation: str = "torch.nn.modules.activation.Tanh",
    **settings: Any,
) -> None:
    """A Dense module with random weights."""
    config = {
        "in_features": takes,
        "out_features": gives,
        "bias": True,
        "activation_function": activation,
        **settings,
    }
    write_json(folder / "config.json", config)
    draw = torch.Generator().manual_seed(takes)
    tensors = {
        "linear.weight": torch.randn(gives, takes, generator=draw) / 4,
        "linear.bias": torch.randn(gives, generator=draw),
    }
    if settings.get("use_residual") and takes != gives:
        tensors["residual.weight"] = torch.randn(gives, takes, generator=draw)
    save_file(tensors, folder / "model.safetensors")


def static_folder(folder: Path, name: str = "embedding.weight", **more: torch.Tensor) -> Path:
    """A matrix with its tokenizer.json; `more` tensors go into the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(3)
    matrix = torch.randn(len(SPECIAL["bert"]) + len(LETTERS), HIDDEN, generator=draw)
    save_file({name: matrix, **more}, folder / "model.safetensors")
    tokenizer("bert").backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def check_bits_in_every_batch(
    encode: Callable[[Sequence[str]], torch.Tensor], texts: Sequence[str], alone: int = 10
) -> None:
    """A text has one vector, bit for bit, in another order, behind others and alone: encoder noise between equal
    completions of a group would be blown up into advantages.
    """
    rows = encode(texts)
    order = random.Random(2).sample(range(len(texts)), len(texts))
    assert torch.equal(encode([texts[i] for i in order]), rows[order])
    assert torch.equal(encode([*texts, *texts])[len(texts) :], rows)
    for i in order[:alone]:
        assert torch.equal(encode([texts[i]])[0], rows[i])
