"""A judge that is a causal language model in a local folder; its answer is the likeliest of the three signs.

The question is plain text; nothing is sampled. A preference for one sign is not corrected here: asking in
both orders does that. The scores are stored beside the decision for `eval.judge.margin`, because a weak model
may decide by position alone.
"""

from pathlib import Path
from typing import Any

import torch

from data.errors import InputError
from eval.forgetting.probes import text_ids
from eval.preference.outcome import SIGNS
from eval.preference.prompt import TEMPLATE
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.model import load_policy, load_tokenizer, parameter_hash
from grpo.engine.self_check import check_packing


class LocalModel:
    """A transformers causal-LM folder. Raises InputError where it cannot be used."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.name = f"local:{folder}"
        if not folder.is_dir():
            raise InputError(f"--judge {self.name}: no such folder; give a transformers causal-LM folder")
        self._tokenizer = load_tokenizer(folder)
        self._model = load_policy(folder, device)
        check_packing(self._model, fast=False)
        self._choices = [text_ids(self._tokenizer, f" {sign}") for sign in SIGNS]
        if len({tuple(ids) for ids in self._choices}) < len(SIGNS) or not all(self._choices):
            raise InputError(
                f"{folder}: the tokenizer does not tell the signs {', '.join(SIGNS)} apart; take another model as judge"
            )
        self.settings = {
            "kind": "log-likelihood of a sign",
            "prompt": TEMPLATE,
            "model_sha256": parameter_hash(self._model),
        }

    def ask(self, question: str) -> dict[str, Any]:
        """The likeliest sign, and the log-probabilities of all three.

        Raises InputError for a question beyond the model's context.
        """
        context = first_ids(self._tokenizer) + text_ids(self._tokenizer, question)
        room = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and len(context) + max(map(len, self._choices)) > room:
            raise InputError(
                f"{self.name}: a question has {len(context)} tokens, its context only {room}; take a judge with a longer one"
            )
        (scores,) = log_likelihoods(self._model, [context], [self._choices])
        best = max(range(len(SIGNS)), key=scores.__getitem__)
        return {"reply": SIGNS[best], "scores": scores}
