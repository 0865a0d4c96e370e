"""What answers requests: a policy, the thread that decodes, and an encoder."""

from collections.abc import Iterable
from dataclasses import dataclass

from grpo.serve.fields import Fields
from grpo.serve.refusal import bad_value
from grpo.serve.rows import Row
from grpo.serve.served import ServedPolicy
from grpo.serve.similarity import Similarity
from grpo.serve.worker import Job, Worker


@dataclass(frozen=True)
class Service:
    """`started`: seconds since 1970."""

    served: ServedPolicy
    worker: Worker
    similarity: Similarity
    started: int

    def submit(self, prompts: Iterable[list[int]], fields: Fields) -> Job:
        """Completions of prompts. Raises RequestError and BusyError."""
        rows = [Row.of(prompt, fields.wish, number) for prompt in prompts for number in range(fields.count)]
        most = self.served.limits.rows
        if len(rows) > most:
            raise bad_value("n", f"{len(rows)} completions in one request; at most {most}.")
        return self.worker.submit(Job(rows))
