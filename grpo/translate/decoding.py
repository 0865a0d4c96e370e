"""What a policy writes for prompts: the most likely completion, or samples that are a function of (seed, line)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.prompt import Prompt
from grpo.engine.draw import Sampling
from grpo.engine.greedy import DecodeSettings, batches_by_length, greedy_ids
from grpo.engine.sampler import generate, uses_graph

BATCHES = 8  # that are finished together: a batch is kept full, except at their end


@dataclass(frozen=True)
class Decoding:
    """How outputs are made: `temperature` 0 takes the most likely token, and then `samples` is 1."""

    settings: DecodeSettings
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Candidates:
    """The samples of a prompt: texts, their mean log-probability a token (nats, at the temperature of sampling; 0 for
    greedy ones), and whether each was cut at the length limit.
    """

    texts: list[str]
    logps: list[float]
    is_cut: list[bool]


def candidates(
    model: PreTrainedModel,
    prompt: Prompt,
    prompts: Sequence[Sequence[int]],
    lines: Sequence[int],
    decoding: Decoding,
) -> Iterator[tuple[int, Candidates]]:
    """Index and candidates of every prompt, as they end. `lines` are the numbers of the prompts' lines, by which
    samples are drawn.
    """
    decode = draw_samples if decoding.temperature > 0 else decode_greedily
    stops = set(decoding.settings.stop_ids)
    with torch.inference_mode():
        for place, rows, logps in decode(model, prompts, lines, decoding):
            texts = [prompt.decode_completion(ids) for ids in rows]
            yield place, Candidates(texts, logps, [not stops.intersection(ids[-1:]) for ids in rows])


# index, completions, their mean log-probabilities
Outputs = Iterator[tuple[int, list[list[int]], list[float]]]


def decode_greedily(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], lines: Sequence[int], decoding: Decoding
) -> Outputs:
    """One greedy completion of each prompt."""
    for place, ids in greedy_ids(model, prompts, decoding.settings):
        yield place, [ids], [0.0]


def draw_samples(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], lines: Sequence[int], decoding: Decoding
) -> Outputs:
    """`samples` completions of each prompt. On an accelerator the decoder itself keeps its slots full, so it gets the
    prompts of several batches.
    """
    settings = decoding.settings
    sampling = Sampling(
        decoding.samples, settings.max_new_tokens, decoding.temperature, settings.stop_ids, settings.fast
    )
    size = settings.batch_size // decoding.samples
    size = BATCHES * settings.batch_size if settings.fast and uses_graph(model) else size
    for batch in batches_by_length(prompts, max(1, size)):
        numbers = [lines[place] for place in batch]
        rollout = generate(model, [prompts[place] for place in batch], sampling, (decoding.seed,), numbers)
        means = mean_logps(rollout.sampling_logps, rollout.lengths).view(len(batch), -1).tolist()
        rows = list(rollout.completions())
        for row, place in enumerate(batch):
            own = slice(row * decoding.samples, (row + 1) * decoding.samples)
            yield place, [list(ids) for ids in rows[own]], means[row]


def mean_logps(logps: Tensor, lengths: Tensor) -> Tensor:
    """(N, T) log-probabilities of tokens, of which the first `lengths` (N,) are real -> (N,) fp64 their mean.

    >>> mean_logps(torch.tensor([[-1.0, -3.0], [-0.5, -9.0]]), torch.tensor([2, 1])).tolist()
    [-2.0, -0.5]
    """
    is_real = torch.arange(logps.shape[1], device=logps.device) < lengths[:, None]
    return logps.double().where(is_real, 0.0).sum(dim=1) / lengths.clamp_min(1)
