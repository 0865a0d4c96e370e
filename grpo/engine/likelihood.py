"""Log-likelihoods of texts behind contexts: what probes, drift and a tax budget measure a model by."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids as text_ids
from data.live_table import with_count
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.engine.sharding import in_step

BATCH_TOKENS = 2048
T = TypeVar("T")


class Team(Protocol):
    """Processes that share the batches of one piece of work."""

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this process."""
        ...

    def merge(self, found: Mapping[int, T]) -> dict[int, T]:
        """What each process found, by number -> all of it, in each."""
        ...


def first_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a text is conditioned on when nothing precedes it: the beginning-of-text token, else the end
    token.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return [int(token)]
    raise ValueError(
        "the tokenizer has neither a beginning-of-text nor an end-of-text token to start a text with"
    )


def log_likelihoods(
    model: PreTrainedModel,
    contexts: Sequence[list[int]],
    choices: Sequence[Sequence[list[int]]],
    team: Team | None = None,
) -> list[list[float]]:
    """Summed log-probability (nats) of every choice behind its context; all items have the same number of
    choices.

    A context runs once for all its choices; items of similar length share a forward pass. A `team` shares the
    passes, which are those of one process; for a sharded model it is all processes. One that has no pass left keeps
    step with a pass of the first item, which counts for nothing.
    """
    device = next(model.parameters()).device
    results: dict[int, list[float]] = {}
    lengths = [row_tokens(context, group) for context, group in zip(contexts, choices, strict=True)]
    batches = [*by_budget(lengths, BATCH_TOKENS)]
    with torch.inference_mode():
        own = in_step(model, [*(team.part(batches) if team else batches)])
        for batch in with_count(own, "likelihoods", len(own)):
            items = batch or [0]
            group_size = len(choices[items[0]])
            packed = pack(
                [contexts[i] for i in items], [ids for i in items for ids in choices[i]], group_size
            )
            sums = (
                completion_logps(model, packed.to(device))
                .logps.double()
                .sum(dim=1)
                .view(len(items), group_size)
            )
            for i, values in zip(batch, sums.tolist(), strict=bool(batch)):
                results[i] = values
    results = team.merge(results) if team else results
    return [results[i] for i in range(len(contexts))]
