"""The policy that a server has: how a request becomes its prompt, and how its completion is read."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.ends import text_ids
from data.errors import one_line
from data.prompt import Prompt
from data.prompt_record import load_kinds
from data.saved_prompt import model_ends
from data.template import CHAT, Message, Wording
from grpo.engine.model import load_tokenizer
from grpo.runtime.run_folder import policy_in, run_of
from grpo.serve.refusal import bad_value
from grpo.translate.policy import Policy, open_policy, settings_of

FREE = ("", "", "free")  # kind of what a model is asked that no run has trained: the text as it is


def open_any(path: Path, source_language: str, target_language: str) -> Policy:
    """A policy as `translate` opens it; a model that no run has trained answers by its chat template, or continues a
    text where it has none. Raises InputError.
    """
    folder = policy_in(path)
    if load_kinds(folder) or run_of(folder) or source_language or target_language:
        return open_policy(path, source_language, target_language)
    tokenizer = load_tokenizer(folder)
    wording = Wording(template=CHAT) if tokenizer.chat_template else Wording(lines="many")
    prompt = Prompt.of(tokenizer, wording, model_ends(folder, tokenizer))
    return Policy(folder, None, settings_of(folder, None, prompt), prompt, FREE, [FREE])


@dataclass(frozen=True)
class Limits:
    """Tokens of a prompt and of a completion, the latter also where a request does not say; completions at a time."""

    prompt: int
    new: int
    default_new: int
    rows: int


@dataclass(frozen=True)
class ServedPolicy:
    """A policy under a name. Its tokenizer is used by one thread at a time."""

    name: str
    policy: Policy
    limits: Limits
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, ids: Sequence[int]) -> str:
        """The text of a completion."""
        with self.lock:
            return self.policy.prompt.decode_completion(ids)

    def source_prompt(self, text: str, field_name: str) -> list[int]:
        """The prompt of a source text, as in training. Raises RequestError."""
        with self.lock:
            example = self.policy.example(text)
            problem = self.policy.problem(example, self.limits.prompt)
            if problem:
                sentence = (
                    f"This server takes no text {problem}." if example.source else "The source text is empty."
                )
                raise bad_value(field_name, sentence, code_of(problem))
            return self.policy.prompt.encode_prompt(example)

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """All messages in the chat template; without one, the last message is the source text, and the others are not
        read. Raises RequestError.
        """
        chat = self.policy.prompt.chat
        if chat is None:
            return self.source_prompt(messages[-1]["content"], "messages")
        with self.lock:
            for spelling in chat.spellings:
                if any(spelling in message["content"] for message in messages):
                    raise bad_value("messages", f"A message holds {spelling}, a special token.")
            try:
                ids = chat.ids(messages)
            except Exception as error:  # a template refuses by an error of its own
                message = f"The chat template does not take these messages ({one_line(error)})."
                raise bad_value("messages", message) from error
        return self.check_length(ids, "messages")

    def text_prompt(self, prompt: str | list[int]) -> list[int]:
        """A text, or token ids, to go on from as it is. Raises RequestError."""
        if isinstance(prompt, list):
            return self.check_length(prompt, "prompt")
        tokenizer = self.policy.prompt.tokenizer
        start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        with self.lock:
            ids = start + text_ids(tokenizer, prompt)
        return self.check_length(ids, "prompt")

    def check_length(self, ids: list[int], field_name: str) -> list[int]:
        """The ids of a prompt. Raises RequestError for none and for too many."""
        if not ids:
            raise bad_value(field_name, "The prompt is empty.")
        if len(ids) > self.limits.prompt:
            message = f"The prompt has {len(ids)} tokens, and this server takes {self.limits.prompt}."
            raise bad_value(field_name, message, "context_length_exceeded")
        return ids


def code_of(problem: str) -> str:
    """OpenAI's name of a problem of a source text."""
    return "context_length_exceeded" if problem.startswith("longer") else "invalid_value"
