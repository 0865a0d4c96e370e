"""What is answered, in OpenAI's shapes: whole, or in pieces as the texts grow."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grpo.serve.fields import Fields
from grpo.serve.rows import Row
from grpo.serve.worker import Job

Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One of OpenAI's two kinds of completion: names of its objects, and where the text stands in a choice."""

    prefix: str
    whole: str
    piece: str
    is_chat: bool

    def choice(self, number: int, text: str, reason: str | None) -> Json:
        """A choice of a whole answer."""
        content = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.is_chat
            else {"text": text}
        )
        return {"index": number, **content, "logprobs": None, "finish_reason": reason}

    def piece_of(self, number: int, text: str, reason: str | None, is_first: bool = False) -> Json:
        """A choice of a piece."""
        if not self.is_chat:
            return self.choice(number, text, reason)
        delta = {"role": "assistant", "content": text} if is_first else {"content": text} if text else {}
        return {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}


CHAT = Kind("chatcmpl", "chat.completion", "chat.completion.chunk", is_chat=True)
TEXT = Kind("cmpl", "text_completion", "text_completion", is_chat=False)


def head(kind: Kind, model: str, is_piece: bool) -> Json:
    """What every answer begins with."""
    name = kind.piece if is_piece else kind.whole
    return {
        "id": f"{kind.prefix}-{secrets.token_hex(12)}",
        "object": name,
        "created": int(time.time()),
        "model": model,
    }


def usage(rows: Sequence[Row], count: int) -> Json:
    """Tokens of the prompts, each counted once for its `count` completions, and of the completions, with the tokens
    that end them.
    """
    prompts = sum(len(row.prompt) for row in rows[::count])
    written = sum(len(row.ids) for row in rows)
    return {"prompt_tokens": prompts, "completion_tokens": written, "total_tokens": prompts + written}


def whole_answer(kind: Kind, model: str, job: Job, fields: Fields) -> Json:
    """The answer when all rows have ended. Raises DecodeError."""
    job.finish()
    choices = [kind.choice(number, row.shown, row.reason) for number, row in enumerate(job.rows)]
    return head(kind, model, is_piece=False) | {"choices": choices, "usage": usage(job.rows, fields.count)}


def pieces(kind: Kind, model: str, job: Job, fields: Fields) -> Iterator[Json]:
    """The answer in pieces: of each choice first its role, then what its text gains, at last why it ended. Raises
    DecodeError.
    """
    common = head(kind, model, is_piece=True) | ({"usage": None} if fields.has_usage else {})
    if kind.is_chat:
        for number in range(len(job.rows)):
            yield common | {"choices": [kind.piece_of(number, "", None, is_first=True)]}
    for number, text in job.texts():
        if text:
            yield common | {"choices": [kind.piece_of(number, text, None)]}
    for number, row in enumerate(job.rows):
        yield common | {"choices": [kind.piece_of(number, "", row.reason)]}
    if fields.has_usage:
        yield common | {"choices": [], "usage": usage(job.rows, fields.count)}
