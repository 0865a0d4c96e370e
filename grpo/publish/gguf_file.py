"""A Gemma 3 text model as one GGUF file, which llama.cpp reads, by the writer of the package gguf.

Keys and forms are those of Google's own Gemma 3 files. What such a file cannot say is refused. Other families have
rules of their own for tensors and tokenizers; llama.cpp's converter knows them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, TokenType
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.errors import InputError
from data.prompt_record import read_record
from grpo.engine.licences import licence_of

FAMILY = "gemma3_text"
PERIOD = 6  # every sixth layer sees the whole text; llama.cpp has it in its code
LOCAL_BASE = 10_000.0  # of the rotary positions of the other layers; likewise
UNMERGED_SCORE = -1000.0  # of tokens that no merge makes, as in Google's files
KINDS = {"": Kind.F32, "fp16": Kind.F16, "bf16": Kind.BF16}
FILE_TYPES = {
    "": gguf.LlamaFileType.ALL_F32,
    "fp16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
}
CONVERTER = "python convert_hf_to_gguf.py {folder} --outfile FILE.gguf"


def check_gguf(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises InputError for a model or tokenizer that the file could not hold as it is."""
    config = model.config
    if config.model_type != FAMILY:
        raise InputError(refusal(folder, f"{config.model_type} is not written here, only {FAMILY}"))
    own = [
        "full_attention" if (layer + 1) % PERIOD == 0 else "sliding_attention"
        for layer in range(config.num_hidden_layers)
    ]
    rope = config.rope_parameters
    faults = {
        f"its layers do not see the whole text at every {PERIOD}th layer": list(config.layer_types) != own,
        "query_pre_attn_scalar is not head_dim": config.query_pre_attn_scalar != config.head_dim,
        "its rotary positions are scaled": any(part["rope_type"] != "default" for part in rope.values()),
        f"rope_theta of its sliding layers is not {LOCAL_BASE:g}": rope["sliding_attention"]["rope_theta"] != LOCAL_BASE,
        "it has soft caps": bool(config.final_logit_softcapping or config.attn_logit_softcapping),
        "its tokenizer is not Gemma's": not is_gemma_tokenizer(tokenizer),
    }  # fmt: skip
    if found := [fault for fault, is_true in faults.items() if is_true]:
        raise InputError(refusal(folder, found[0]))


def refusal(folder: Path, cause: str) -> str:
    """Why no file is written, and what writes one."""
    return f"--gguf: {cause}; use llama.cpp's converter on the folder: {CONVERTER.format(folder=folder)}"


def settings_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """tokenizer.json as it would be saved; empty for a tokenizer without one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    return settings


def is_gemma_tokenizer(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it merges pieces whose spaces are marks, falls back to bytes, and puts no mark in front."""
    settings = settings_of(tokenizer)
    normaliser = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    model = settings.get("model", {})
    return (
        model.get("type") == "BPE"
        and bool(model.get("byte_fallback"))
        and settings.get("normalizer") == normaliser
    )


def write_gguf(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, path: Path, form: str
) -> None:
    """Write the file: matrices in `form`, "" = fp32, vectors in fp32."""
    writer = GGUFWriter(path, "gemma3")
    write_settings(writer, model.config, folder, form)
    write_tokenizer(writer, tokenizer, folder, model.config.vocab_size)
    for name, tensor in named_tensors(model):
        kind = KINDS[form] if tensor.dim() > 1 else Kind.F32
        writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_settings(writer: GGUFWriter, config: Any, folder: Path, form: str) -> None:
    """What config.json says, and the licence."""
    writer.add_type("model")
    writer.add_name(folder.resolve().name)
    if licence := licence_of(folder):
        writer.add_license(licence)
    writer.add_file_type(FILE_TYPES[form])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    writer.add_sliding_window(config.sliding_window)


def write_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int) -> None:
    """Pieces, their order and kinds, the ends of a text and the template."""
    tokens, scores, kinds = zip(*pieces(settings_of(tokenizer), rows), strict=True)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    end = read_record(folder, ("end",)).get("end", tokenizer.eos_token_id)
    writer.add_eos_token_id(end)
    for token, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if token is not None:
            add(token)
    starts = list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(starts)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def pieces(settings: dict[str, Any], rows: int) -> Iterator[tuple[str, float, int]]:
    """(piece, score, kind) of every row of the embedding. The score orders merges: minus the place of the first merge
    that makes a piece.
    """
    model = settings["model"]
    first: dict[str, int] = {}
    for place, (left, right) in enumerate(model["merges"]):
        first.setdefault(left + right, place)
    added = {token["id"]: token for token in settings["added_tokens"]}
    by_id = {number: piece for piece, number in model["vocab"].items()} | {
        n: one["content"] for n, one in added.items()
    }
    for row in range(rows):
        piece = by_id.get(row, f"[PAD{row}]")
        if row not in by_id:
            yield piece, UNMERGED_SCORE, TokenType.UNUSED
        elif row in added:
            yield (
                piece,
                UNMERGED_SCORE,
                TokenType.CONTROL if added[row]["special"] else TokenType.USER_DEFINED,
            )
        elif len(piece) == 6 and piece.startswith("<0x"):
            yield piece, 0.0, TokenType.BYTE
        else:
            yield piece, -float(first.get(piece, len(model["merges"]) + row)), TokenType.NORMAL


def named_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Each tensor with its name in the file. The file's norms multiply by the weight itself, this family's by 1 more."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, model.config.num_hidden_layers)
    for name, parameter in model.named_parameters():  # a tied head once
        place = names.get_name(name, try_suffixes=(".weight",))
        if place is None:
            raise InputError(f"--gguf: {name} has no name in a GGUF file of Gemma 3; please report this")
        yield place, parameter.detach() + (1.0 if name.endswith("norm.weight") else 0.0)
