"""Log-likelihoods of texts behind contexts: what probes, drift and a tax budget measure a model by."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.ends import text_ids as text_ids
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens

BATCH_TOKENS = 2048


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
    model: PreTrainedModel, contexts: Sequence[list[int]], choices: Sequence[Sequence[list[int]]]
) -> list[list[float]]:
    """Summed log-probability (nats) of every choice behind its context; all items have the same number of
    choices.

    A context runs once for all its choices; items of similar length share a forward pass.
    """
    device = next(model.parameters()).device
    results: list[list[float]] = [[] for _ in contexts]
    lengths = [row_tokens(context, group) for context, group in zip(contexts, choices, strict=True)]
    with torch.inference_mode():
        for batch in by_budget(lengths, BATCH_TOKENS):
            group_size = len(choices[batch[0]])
            packed = pack(
                [contexts[i] for i in batch], [ids for i in batch for ids in choices[i]], group_size
            )
            sums = (
                completion_logps(model, packed.to(device))
                .logps.double()
                .sum(dim=1)
                .view(len(batch), group_size)
            )
            for i, values in zip(batch, sums.tolist(), strict=True):
                results[i] = values
    return results
