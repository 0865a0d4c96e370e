"""A judge behind an OpenAI-compatible HTTP endpoint: one request per question, temperature 0, with retries.

Retried after a pause that doubles each time (or after Retry-After): too many requests, server errors, broken
connections, time-outs and answers that are no chat completion. Every other error is the user's to mend.
Redirections are not followed, so the key goes to no other server; it appears in no file and no message.
"""

import json
import time
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from data.documents import parse_json
from data.errors import InputError, one_line
from eval.preference.prompt import TEMPLATE

TRIES = 6
LONGEST_WAIT = 60.0  # seconds between two tries
LARGEST_ANSWER = 1 << 20  # bytes
TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504, 529)
MAX_QUOTE = 200  # characters of an answer in a sentence


class TransientError(Exception):
    """An error that the next try may not meet; `wait`: seconds that the server asked for, if it did."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Turns a redirection into an HTTPError."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """`url` ends before /chat/completions; `timeout` in seconds for each read; `pause` in seconds before the
    second try.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    max_tokens: int = 1024
    timeout: float = 120.0
    pause: float = 1.0

    @property
    def name(self) -> str:
        return f"openai:{self.url}#{self.model}"

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "kind": "chat completion",
            "prompt": TEMPLATE,
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }

    def ask(self, question: str) -> dict[str, Any]:
        """The model's reply. Raises InputError after `TRIES` tries, or at once for an error that stays."""
        for number in range(TRIES):
            try:
                return {"reply": content_of(self._post(question))}
            except TransientError as trouble:
                cause = str(trouble)
                wait = trouble.wait
            if number < TRIES - 1:
                time.sleep(min(LONGEST_WAIT, self.pause * 2**number if wait is None else wait))
        raise InputError(
            f"{self.name}: no answer in {TRIES} tries ({cause}); check the server and run the same command "
            "again: it asks only for the missing answers"
        )

    def _post(self, question: str) -> bytes:
        """The body of the answer to one request."""
        messages = [{"role": "user", "content": question}]
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": self.max_tokens}
        request = urllib.request.Request(
            f"{self.url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "User-Agent": "semantic-grpo"},
        )
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.build_opener(NoRedirects()).open(request, timeout=self.timeout) as response:
                return response.read(LARGEST_ANSWER)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except UnicodeError as error:  # from the name of the host
            raise InputError(
                f"{self.name}: no such address can be ({one_line(error)}); correct the name of the host"
            ) from error
        except (OSError, HTTPException) as error:
            raise TransientError(
                one_line(getattr(error, "reason", None) or error) or type(error).__name__
            ) from error

    def _refusal(self, error: HTTPError) -> Exception:
        """The exception for an HTTP status: TransientError where a retry may help, else InputError."""
        if error.code in TRANSIENT:
            wait = error.headers.get("Retry-After", "")
            return TransientError(
                f"HTTP {error.code}", float(wait) if wait.isascii() and wait.isdigit() else None
            )
        try:
            text = one_line(error.read(LARGEST_ANSWER).decode("utf-8", "replace"))
        except (OSError, HTTPException):
            text = ""
        text = text.replace(self.key, "[key]") if self.key else text
        return InputError(
            f"{self.name}: HTTP {error.code} ({text[:MAX_QUOTE]}); check the address, the model's name and the key"
        )


def content_of(body: bytes) -> str:
    """The text of a chat completion; null, as of a refusal, is an empty one.

    Raises TransientError for no text.
    """
    try:
        content = parse_json(body, "the answer")["choices"][0]["message"]["content"]
    except InputError as error:
        raise TransientError("the answer is not JSON") from error
    except (KeyError, IndexError, TypeError) as error:
        raise TransientError("the answer has no choices[0].message.content") from error
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TransientError("choices[0].message.content is no text")
    return content
