"""What the page shows of a source text: the most likely output, samples, and their cosines with a reference text."""

import secrets
from collections.abc import Mapping
from typing import Any

from grpo.serve.fields import SEEDS, read_field, read_whole, temperature_of
from grpo.serve.rows import Row, Wish
from grpo.serve.served import ServedPolicy
from grpo.serve.similarity import Similarity
from grpo.serve.worker import Job, Worker

MOST_SAMPLES = 8


def most_samples(served: ServedPolicy) -> int:
    """Samples beside the most likely output."""
    return min(MOST_SAMPLES, served.limits.rows - 1)


def page_outputs(
    body: Mapping[str, Any], served: ServedPolicy, worker: Worker, similarity: Similarity
) -> dict[str, Any]:
    """The outputs of a source text, asked as in training. Raises RequestError, BusyError, DecodeError."""

    def text(name: str) -> str:
        return str(read_field(body, name, "", lambda value: isinstance(value, str), "a text"))

    prompt = served.source_prompt(text("source"), "source")
    count = read_whole(body, "samples", 0, 0, most_samples(served))
    temperature = temperature_of(body)
    seed = read_whole(body, "seed", secrets.randbits(32), 0, SEEDS - 1)
    tokens = served.limits.default_new
    rows = [Row.of(prompt, Wish(tokens), 0)]
    rows += [Row.of(prompt, Wish(tokens, temperature, seed), number) for number in range(count)]
    worker.submit(job := Job(rows))
    job.finish()
    reference = text("reference").strip()
    cosines = similarity.of([row.shown for row in rows], reference) if reference else None
    outputs = [
        {
            "name": f"sample {number}" if number else "most likely",
            "text": row.shown,
            "tokens": len(row.ids),
            "finish_reason": row.reason,
            "cosine": cosines[number] if cosines else None,
        }
        for number, row in enumerate(rows)
    ]
    problem = similarity.problem if reference else ""
    return {"outputs": outputs, "seed": seed, "prompt_tokens": len(prompt), "no_cosine": problem}
