"""Decoding with a batch that is kept full gives what decoding each prompt alone gives, and holds no more than
a batch.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import mistral, qwen2
from transformers import PreTrainedModel

import grpo.engine.greedy as module
from data.examples import Example
from data.prompt import Prompt
from grpo.engine.decode_step import FastDecoder
from grpo.engine.greedy import REFILL_BELOW, DecodeSettings, greedy, greedy_in_batches, greedy_in_full_batches
from grpo.engine.kv_cache import PrefixCache
from grpo.engine.sampler import generate

MANY_STOPS = (EOS, *range(10, 80))  # so that outputs end after anything from one token to the limit
FAMILIES = [tiny_gemma, tiny_llama, mistral, qwen2]


def prompts_of(count: int) -> list[list[int]]:
    """Prompts of 1 to 14 tokens in no order of length, so that windows of 6 and 8 are crossed in prompts and
    in outputs.
    """
    generator = torch.Generator().manual_seed(count)
    sizes = torch.randint(1, 15, (count,), generator=generator).tolist()
    return [torch.randint(100, 259, (size,), generator=generator).tolist() for size in sizes]


def plain(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The model's own logits behind each whole row."""
    return torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])


@torch.no_grad()
def alone(model: PreTrainedModel, prompt: list[int], limit: int, stops: Sequence[int]) -> list[int]:
    ids: list[int] = []
    while len(ids) < limit and not (ids and ids[-1] in stops):
        ids.append(int(plain(model, [prompt + ids])[0].argmax()))
    return ids


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every decode step."""
    rows: list[int] = []
    step = FastDecoder.step

    def counted(self: FastDecoder, tokens: torch.Tensor) -> torch.Tensor:
        rows.append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(FastDecoder, "step", counted)
    return rows


@pytest.mark.parametrize("make", FAMILIES)
@torch.no_grad()
def test_logits_of_rows_that_join_are_those_of_the_models_own_forward(make: Make) -> None:
    """Shorter and longer prompts join, rows of every age are dropped, and the tail of 10, wider than windows,
    goes round three times.
    """
    model = make()
    tail = 10
    texts = iter(prompts_of(40))
    generator = torch.Generator().manual_seed(0)
    decoder = FastDecoder(model, tail, 5)
    row_ids = [next(texts) for _ in range(3)]
    ages = [0, 0, 0]
    logits = decoder.prefill(row_ids, group_size=1)
    widths = set()
    oldest = 0
    for t in range(30):
        assert torch.allclose(logits, plain(model, row_ids), atol=1e-5)
        tokens = torch.randint(10, 259, (len(row_ids),), generator=generator)
        kept = [i for i, age in enumerate(ages) if age < tail - 1 and (i + t) % 7]
        row_ids = [[*row_ids[i], int(tokens[i])] for i in kept]
        ages = [ages[i] + 1 for i in kept]
        decoder.keep(torch.tensor(kept))
        logits = decoder.step(tokens[kept])
        new = [next(texts) for _ in range(5 - len(row_ids))] if len(row_ids) < 4 else []
        if new:
            logits = torch.cat([logits, decoder.join(new)])
        row_ids = row_ids + new
        ages = ages + [0] * len(new)
        oldest = max(oldest, *ages)
        widths.add(decoder.cache.real.shape[1])
        assert decoder.cache.tails[0][0].shape[2] == tail
    assert decoder.cache.used == 30 and len(widths) > 2 and oldest == tail - 1


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize(
    ("count", "batch_size", "limit"), [(13, 4, 7), (13, 4, 1), (13, 1, 5), (1, 4, 7), (3, 8, 7), (13, 13, 7)]
)
def test_every_prompt_gets_what_it_gets_alone(make: Make, count: int, batch_size: int, limit: int) -> None:
    model = make()
    prompts = prompts_of(count)
    found = dict(greedy(model, prompts, limit, MANY_STOPS, batch_size))
    assert found == {number: alone(model, prompt, limit, MANY_STOPS) for number, prompt in enumerate(prompts)}


def test_outputs_end_at_every_length_the_last_by_the_limit() -> None:
    """What the tests above go through: else they would prove little."""
    lengths = [len(ids) for _, ids in greedy(tiny_gemma(), prompts_of(60), 7, MANY_STOPS, 8)]
    cut = [
        ids for _, ids in greedy(tiny_gemma(), prompts_of(60), 7, MANY_STOPS, 8) if ids[-1] not in MANY_STOPS
    ]
    assert set(lengths) == set(range(1, 8))
    assert cut and all(len(ids) == 7 for ids in cut)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, mistral])
def test_order_and_outputs_are_those_of_batches(make: Make) -> None:
    model = make()
    prompts = prompts_of(30)
    settings = DecodeSettings(7, MANY_STOPS, batch_size=5)
    assert dict(greedy_in_full_batches(model, prompts, settings)) == dict(
        greedy_in_batches(model, prompts, settings)
    )


def test_the_batch_stays_full_and_never_overflows(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """60 prompts, 8 at a time: the weights are laid out once instead of 8 times, and few steps beyond the
    fewest possible are run.
    """
    model = tiny_gemma()
    prompts = prompts_of(60)
    settings = DecodeSettings(20, MANY_STOPS, batch_size=8)
    sizes = []
    layouts = []
    init = FastDecoder.__init__
    join = PrefixCache.join

    def joined(self: PrefixCache, other: PrefixCache) -> None:
        join(self, other)
        sizes.append({len(self.lengths), len(self.real), len(self.prefixes[0][0]), len(self.tails[0][0])})

    monkeypatch.setattr(PrefixCache, "join", joined)
    monkeypatch.setattr(
        FastDecoder, "__init__", lambda self, *given: layouts.append(given) or init(self, *given)
    )
    outputs = [ids for _, ids in greedy_in_full_batches(model, prompts, settings)]
    refilled = len(calls)
    full = sum(len(ids) - 1 for ids in outputs) / 8
    assert max(calls) == 8 and all(rows == {8} for rows in sizes[:-1]) and max(sizes[-1]) <= 8
    assert full <= refilled <= full / REFILL_BELOW + 20
    list(greedy_in_batches(model, prompts, settings))
    assert refilled < 0.7 * (len(calls) - refilled)
    assert [len(layouts), len(sizes) > 5] == [1 + 8, True]


def test_only_a_known_model_with_the_switch_on_is_refilled(
    monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any
) -> None:
    examples = [Example(str(n), "ab " * n, "reference", "invented", "none", "bo", "zh") for n in (3, 1, 2)]
    used: list[str] = []
    monkeypatch.setattr(module, "greedy", lambda *given: used.append("refill") or greedy(*given))
    monkeypatch.setattr(
        module, "generate", lambda *given, **named: used.append("batch") or generate(*given, **named)
    )
    on = DecodeSettings(4, (EOS,))
    off = DecodeSettings(4, (EOS,), fast=False)
    outputs = [
        module.greedy_outputs(tiny_gemma(), Prompt.of(tiny_tokenizer), examples, settings)
        for settings in (on, off)
    ]
    module.greedy_outputs(tiny_gpt2(), Prompt.of(tiny_tokenizer), examples, on)
    assert used == ["refill", "batch", "batch"] and outputs[0] == outputs[1]


def test_a_group_may_be_joined_by_another() -> None:
    """The cache itself does not ask for groups of one: a prompt with 3 rows takes in one with 2."""
    torch.manual_seed(0)
    caches = [PrefixCache(torch.tensor([length]), size, 4) for length, size in ((5, 3), (7, 2))]
    for cache in caches:
        rows = torch.randn(int(cache.lengths[0]), 1, 8)
        cache.store(cache.grid(rows), cache.grid(rows))
    caches[0].join(caches[1])
    cache = caches[0]
    cache.append()
    query = torch.randn(5, 2, 8)
    key = torch.randn(5, 1, 8)
    mixed = cache.attend(0, query, key, key, cache.hidden_mask(None), 1.0)
    for row in range(5):
        prompt = cache.prefixes[0][0][cache.prompt[row], 0]
        length = int(cache.lengths[row])
        keys = torch.cat([prompt[:length], key[row]])
        expected = (query[row] @ keys.T).softmax(dim=-1) @ keys
        assert torch.allclose(mixed[row], expected.flatten(), atol=1e-6)
    assert cache.newest_position().tolist() == [5, 5, 5, 7, 7]
