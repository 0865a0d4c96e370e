"""Rows that join and leave a batch get the tokens that each would get alone, by every way to decode."""

from collections.abc import Callable

import pytest
import torch
from tiny import EOS, byte_tokenizer, tiny_gemma, tiny_gpt2
from tiny_families import qwen2
from transformers import PreTrainedModel

from data.ends import text_ids
from data.prompt import Prompt
from data.template import Wording
from grpo.engine.decode_step import FastDecoder
from grpo.engine.draw import Sampling
from grpo.engine.model_decoder import ModelDecoder
from grpo.engine.padding import use_padding
from grpo.engine.sampler import generate
from grpo.serve.batch import Batch
from grpo.serve.decoders import WholeRows, decoders_of
from grpo.serve.rows import Row, Wish
from grpo.serve.worker import Job, Worker

WISHES = [Wish(9), Wish(14, 1.3, 5), Wish(5, 0.7, 5), Wish(14), Wish(12, 2.0, 1), Wish(1)]
PROMPTS = [[2, 40, 41], [2, 90], [2, 33, 34, 35, 36, 37, 38, 39, 40, 41], [2], [2, 70, 70], [2, 41]]


def padded_gemma() -> PreTrainedModel:
    model = tiny_gemma()
    use_padding(model, "it is a test")
    return model


def alone(model: PreTrainedModel, prompt: list[int], wish: Wish, number: int) -> list[int]:
    sampling = Sampling(number + 1, wish.max_tokens, wish.temperature, (EOS,))
    rollout = generate(model, [prompt], sampling, (wish.seed,))
    return [*list(rollout.completions())[number]]


def as_letters(ids: object) -> str:
    return "".join(map(chr, ids))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("make", "kind"),
    [(tiny_gemma, FastDecoder), (qwen2, FastDecoder), (tiny_gpt2, ModelDecoder), (padded_gemma, WholeRows)],
)
def test_each_row_gets_the_tokens_that_it_gets_alone(make: Callable[[], PreTrainedModel], kind: type) -> None:
    rows = [Row.of(PROMPTS[n], wish, n % 3) for n, wish in enumerate(WISHES)]
    model = make()
    new_decoder = decoders_of(model, 14, 4)
    worker = Worker(lambda: Batch(new_decoder(), (EOS,), as_letters), 8, 8)
    jobs = [Job(rows[:2]), Job(rows[2:3]), Job(rows[3:])]
    with torch.inference_mode():
        for job in jobs:  # each comes when the earlier ones have some tokens
            worker.submit(job)
            worker.round()
            assert all(isinstance(batch.decoder, kind) for batch in worker.batches)
            worker.round()
        assert len(worker.batches) == (3 if kind is ModelDecoder else 1)
        while worker.active:
            worker.round()
    for n, row in enumerate(rows):
        assert row.ids == alone(model, PROMPTS[n], WISHES[n], n % 3), n
        assert row.reason == ("stop" if row.ids[-1] == EOS else "length") and row.shown == as_letters(row.ids)
    assert worker.batches == []


def test_a_text_is_shown_when_no_later_token_changes_it() -> None:
    prompt = Prompt.of(byte_tokenizer(), Wording(lines="many"))
    row = Row.of([2], Wish(99, stops=("stop", "ö!")), 0)
    gains = [
        row.take(token, prompt.stops, prompt.decode_completion)
        for token in text_ids(prompt.tokenizer, "ä sto\nsöstop")
    ]
    assert gains == ["", "ä", "", " ", "", "", "", "sto\n", "", "s", "ö", "", "", ""]
    assert (row.shown, row.reason) == ("ä sto\nsö", "stop") and "".join(gains) == row.shown


def test_a_full_batch_lets_the_next_job_wait() -> None:
    new_decoder = decoders_of(tiny_gemma(), 4, 2)
    worker = Worker(lambda: Batch(new_decoder(), (EOS,), as_letters), max_rows=2, max_waiting=3)
    jobs = [worker.submit(Job([Row.of([2, n], Wish(3), 0)])) for n in (50, 60, 70)]
    with torch.inference_mode():
        worker.round()
        assert [len(job.rows[0].ids) for job in jobs] == [1, 1, 0] and len(worker.waiting) == 1
        while worker.active or worker.waiting:
            worker.round()
    assert [len(job.rows[0].ids) for job in jobs] == [3, 3, 3]
