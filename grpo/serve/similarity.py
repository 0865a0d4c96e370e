"""The cosine of outputs and a reference text, by the encoder of the run's reward."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.errors import InputError
from eval.metrics.similarity import cosines
from grpo.translate.policy import Policy
from reward.embedding import EmbeddingStore
from reward.encoder import check_encoder, load_encoder

Embed = Callable[[Sequence[str]], Tensor]


class Similarity:
    """The encoder is loaded when it is first needed. `problem` says why there is none, "" where there is."""

    def __init__(self, policy: Policy, cache: Path, device: torch.device):
        self.name = str(policy.settings["reward.encoder"])
        self.cache = cache
        self.device = device
        self.problem = problem_of(policy, self.name, cache)
        self._lock = threading.Lock()
        self._embed: Embed | None = None

    def of(self, outputs: Sequence[str], reference: str) -> list[float] | None:
        """The cosine of each output, 0 of an empty one; None where there is no encoder."""
        with self._lock:
            if self._embed is None and not self.problem:
                self._load()
            if self._embed is None:
                return None
            return cosines(outputs, [[reference]] * len(outputs), self._embed)

    def _load(self) -> None:
        try:
            self._embed = EmbeddingStore(load_encoder(self.name, self.cache, self.device), None).embed
        except InputError as error:
            self.problem = str(error)


def problem_of(policy: Policy, name: str, cache: Path) -> str:
    """Why there is no encoder, as far as can be seen without loading one."""
    if policy.run is None:
        return "this model lies in no run folder, so no encoder belongs to it"
    try:
        check_encoder(name, cache)
    except InputError as error:
        return str(error)
    return ""
