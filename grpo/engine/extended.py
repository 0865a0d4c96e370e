"""Writes a model folder with new pieces: a longer vocabulary, and for each piece a row in embedding and head.

A row is the mean of those of the old pieces that spell it. Old ids, and all other weights, stay as they are.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from data.cache import atomic_folder
from data.model_folder import check_model_folder, input_errors
from grpo.engine.licences import NOTICE_FILE
from grpo.engine.model import load_tokenizer
from grpo.engine.new_pieces import learn_pieces
from grpo.engine.token_rows import FILE

FACTS = "new_pieces.json"
EXTENSION = 1  # raise it where another folder would be made of the same model and texts
REPLACED = ("*.safetensors", "*.safetensors.index.json", "vocab.*", "merges.txt", "*.model", FILE)


def extend(base: Path, folder: Path, texts: Iterable[str], count: int) -> None:
    """Write to `folder` the model of `base` with at most `count` pieces that are frequent in `texts`.

    Raises InputError for a folder that is no causal LM, or whose vocabulary cannot grow.
    """
    check_model_folder(base, AutoModelForCausalLM)
    with atomic_folder(folder) as work:
        copy_others(base, work)
        if not (base / FILE).is_file():
            load_tokenizer(base).save_pretrained(work)
        source = base / FILE if (base / FILE).is_file() else work / FILE
        pieces = learn_pieces(json.loads(source.read_text(encoding="utf-8")), texts, count)
        with input_errors(base, "transformers cannot load this as a causal LM with safetensors weights"):
            model = AutoModelForCausalLM.from_pretrained(
                base, dtype="auto", use_safetensors=True, trust_remote_code=False
            )
        add_rows(model, pieces.parts)
        model.save_pretrained(work)
        (work / FILE).write_text(json.dumps(pieces.tokenizer, ensure_ascii=False), encoding="utf-8")
        (work / FACTS).write_text(json.dumps(pieces.parts), encoding="utf-8")
        if (work / NOTICE_FILE).is_file():
            with open(work / NOTICE_FILE, "a", encoding="utf-8") as notice:
                notice.write(f"{len(pieces.parts):,} pieces were added to the vocabulary.\n")


def copy_others(base: Path, work: Path) -> None:
    """Copy the files of a model folder that are not written anew: settings, templates, notices."""
    new = {file.name for like in REPLACED for file in base.glob(like)}
    for file in base.iterdir():
        if file.is_file() and file.name not in new:
            shutil.copyfile(file, work / file.name)


@torch.no_grad()
def add_rows(model: PreTrainedModel, parts: Mapping[int, Sequence[int]]) -> None:
    """Fill a row of embedding and head for each new piece, by id; both grow where they lack one.

    A row that no piece has, between the old ones and the first new one, is the mean of all.
    """
    rows = model.config.get_text_config().vocab_size
    if max(parts, default=-1) >= rows:
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(max(parts) + 1, mean_resizing=False)
        parts = dict.fromkeys(range(rows, min(parts)), range(rows)) | dict(parts)
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    fill(embedding.weight, parts)
    if head.weight is not embedding.weight:
        fill(head.weight, parts)
    if isinstance(head, nn.Linear) and head.bias is not None:
        fill(head.bias, parts)


def fill(rows: Tensor, parts: Mapping[int, Sequence[int]]) -> None:
    """Each row of `parts` becomes the mean of its parts, in fp32."""
    for token, ids in parts.items():
        rows[token] = rows[list(ids)].float().mean(dim=0).to(rows.dtype)
