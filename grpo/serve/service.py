"""What answers requests: a policy, the thread that decodes, and an encoder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from grpo.serve.fields import Fields, fields_of
from grpo.serve.refusal import RequestError
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

    @property
    def name(self) -> str:
        """The model's name."""
        return self.served.name

    def fields(self, body: Mapping[str, Any], content: str) -> Fields:
        """The checked fields of a request whose texts are in the field `content`. Raises RequestError."""
        limits = self.served.limits
        return fields_of(body, content, self.name, limits.default_new, limits.new, limits.rows)

    def submit(self, prompts: Iterable[list[int]], fields: Fields) -> Job:
        """Completions of prompts. Raises RequestError and BusyError."""
        rows = [Row.of(prompt, fields.wish, number) for prompt in prompts for number in range(fields.count)]
        most = self.served.limits.rows
        if len(rows) > most:
            raise RequestError(
                400, f"{len(rows)} completions in one request; at most {most}.", "n", "invalid_value"
            )
        return self.worker.submit(Job(rows))
