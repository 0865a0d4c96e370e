"""Holds an exported model against the one it was made from: log-probabilities at every token of a prompt."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids
from data.model_folder import input_errors, quiet
from data.prompt_record import read_record

TEXT = "1, 2, 3, 4, 5, 6, 7, 8, 9"  # the source text, in any language; the whole prompt of a folder without prompt.json


def load(folder: Path, dtype: torch.dtype, **more: object) -> PreTrainedModel:
    """The model in a folder, by transformers. Raises InputError where it cannot be read; a pickle never is."""
    with (
        input_errors(folder, "transformers cannot load this as a causal LM with safetensors weights"),
        quiet(),
    ):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True, **more
        )
    return model.eval()


def trial_text(folder: Path) -> str:
    """The prompt that the model was trained on, with a source text in it."""
    kinds = read_record(folder, ("kinds",)).get("kinds")
    return kinds[0].get("prompt", "{source}").replace("{source}", TEXT) if kinds else TEXT


def trial_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Its token ids, behind the start token."""
    start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    return start + text_ids(tokenizer, trial_text(folder))


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Of every token behind every prefix of `ids`, (tokens, vocabulary), fp32."""
    return torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)


def largest_gap(a: Tensor, b: Tensor) -> float:
    """The largest difference of two log-probabilities that are above e^-20 in `a`, in nats."""
    return float((a - b).abs()[a > -20].max())
