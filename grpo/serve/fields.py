"""The fields of a request, checked: what cannot be done is refused, with the name of the field."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from data.template import Message
from grpo.serve.refusal import RequestError, bad_value
from grpo.serve.rows import Wish
from grpo.serve.served import ServedPolicy

MOST_STOPS = 4
LONGEST_STOP = 200  # characters
MOST_TEMPERATURE = 2.0
LEAST_TEMPERATURE = 1e-3  # less takes the most likely token, as 0 does
MOST_MESSAGES = 1000
SEEDS = 2**64

# fields that are done in one way only: values that mean this way
ONE_WAY: Mapping[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
}
# fields that change no text
WITHOUT_EFFECT = frozenset(
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "parallel_tool_calls",
        "safety_identifier",
        "prompt_cache_key",
    ]
)
COMMON = frozenset(
    [
        "model",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "stop",
        "seed",
        "stream",
        "stream_options",
    ]
)
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Fields:
    """What both kinds of completion have. `count` completions of each prompt."""

    count: int
    wish: Wish
    is_stream: bool
    has_usage: bool


def fields_of(body: Mapping[str, Any], content: str, served: ServedPolicy) -> Fields:
    """The checked fields of a request whose texts are in the field `content`, without those that are null. Raises
    RequestError.
    """
    check_known(body, content)
    limits = served.limits
    if body.get("model", served.name) != served.name:
        message = f"The model {body['model']!r} is not here; this server has {served.name!r}."
        raise RequestError(404, message, "model", "model_not_found")
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    wish = Wish(
        read_whole(body, name, limits.default_new, 1, limits.new, "; the server's limit is --max-new-tokens"),
        temperature_of(body),
        read_whole(body, "seed", secrets.randbits(32), -SEEDS // 2, SEEDS - 1) % SEEDS,
        stops_of(body),
    )
    is_stream = read_flag(body, "stream")
    options = read_field(body, "stream_options", {}, lambda value: isinstance(value, dict), "an object")
    count = read_whole(body, "n", 1, 1, limits.rows)
    return Fields(count, wish, is_stream, is_stream and read_flag(options, "include_usage"))


def check_known(body: Mapping[str, Any], content: str) -> None:
    """RequestError for a field that is unknown, and for one that asks for what is not done here."""
    if content not in body:
        raise bad_value(content, f"Missing required parameter: '{content}'.", "missing_required_parameter")
    for name, value in body.items():
        if name in ONE_WAY:
            if value not in ONE_WAY[name]:
                ways = " or ".join(map(repr, ONE_WAY[name]))
                message = f"'{name}' can only be {ways} on this server; leave it out."
                raise bad_value(name, message, "unsupported_value")
        elif name not in COMMON | WITHOUT_EFFECT | {content}:
            raise bad_value(name, f"Unrecognized request argument supplied: {name}", "unknown_parameter")


def read_field(
    body: Mapping[str, Any], name: str, default: Any, is_right: Callable[[Any], bool], what: str
) -> Any:
    """The value of a field; RequestError where it is of the wrong kind."""
    value = body.get(name, default)
    if not is_right(value):
        raise bad_value(name, f"'{name}' has to be {what}.")
    return value


def read_flag(body: Mapping[str, Any], name: str) -> bool:
    return bool(read_field(body, name, False, lambda value: isinstance(value, bool), "true or false"))


def read_whole(
    body: Mapping[str, Any], name: str, default: int, least: int, most: int, remark: str = ""
) -> int:
    def is_right(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return int(read_field(body, name, default, is_right, f"a whole number from {least} to {most}{remark}"))


def temperature_of(body: Mapping[str, Any]) -> float:
    """1 where a request does not say, as OpenAI's is."""

    def is_right(value: Any) -> bool:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TEMPERATURE
        )

    value = read_field(body, "temperature", 1.0, is_right, f"a number from 0 to {MOST_TEMPERATURE:g}")
    return float(value) if value >= LEAST_TEMPERATURE else 0.0


def stops_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    def is_right(value: Any) -> bool:
        texts = [value] if isinstance(value, str) else value
        return (
            isinstance(texts, list)
            and len(texts) <= MOST_STOPS
            and all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in texts)
        )

    what = f"a text or up to {MOST_STOPS} texts, each of 1 to {LONGEST_STOP} characters"
    value = read_field(body, "stop", [], is_right, what)
    return (value,) if isinstance(value, str) else tuple(value)


def messages_of(body: Mapping[str, Any]) -> list[Message]:
    """The messages of a chat, the parts of each joined. Raises RequestError."""
    what = f"a list of 1 to {MOST_MESSAGES} messages with role and content, the last one of the user"
    refusal = bad_value("messages", f"'messages' has to be {what}.")
    found = body["messages"]
    if not isinstance(found, list) or not 0 < len(found) <= MOST_MESSAGES:
        raise refusal
    messages = []
    for message in found:
        turn = message if isinstance(message, dict) else {}
        role = ROLES.get(str(turn.get("role")))
        text = text_of(turn.get("content"))
        if role is None or text is None:
            raise refusal
        messages.append({"role": role, "content": text})
    if messages[-1]["role"] != "user":
        raise refusal
    return messages


def text_of(content: Any) -> str | None:
    """The text of a message, whose parts are texts too; None for anything else."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    is_whole = len(texts) == len(content) and all(isinstance(text, str) for text in texts)
    return "".join(map(str, texts)) if is_whole else None


def prompts_of(body: Mapping[str, Any], tokens: int) -> list[str | list[int]]:
    """The prompts of a completion: texts, or ids below `tokens`. Raises RequestError."""

    def is_ids(value: Any) -> bool:
        return (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < tokens for one in value)
        )

    found = body["prompt"]
    prompts = [found] if isinstance(found, str) or is_ids(found) else found
    if not (
        isinstance(prompts, list) and prompts and all(isinstance(one, str) or is_ids(one) for one in prompts)
    ):
        what = f"a text, a list of texts, a list of token ids below {tokens}, or a list of such lists"
        raise bad_value("prompt", f"'prompt' has to be {what}.")
    return list(prompts)
