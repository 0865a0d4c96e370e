"""The one object that turns an example into token ids and token ids into a text: a wording with a tokenizer.

Prompt and completion are tokenised apart, so a prompt has the same ids with every completion. What a policy was
trained on is saved beside it (data/saved_prompt.py).
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from data.chat import Chat
from data.ends import ends_of, text_ids
from data.errors import InputError
from data.examples import Example
from data.template import Wording

SHOWN_STOPS = 6  # names of end tokens in a sentence
SHOWN_BEGIN, SHOWN_END = 1500, 500  # characters of a long prompt


@dataclass(frozen=True)
class Prompt:
    """How a model is asked and how its answer is read. `stops`: the tokens that end a completion. `chat` is None
    where the prompt is a text that the model continues.
    """

    tokenizer: PreTrainedTokenizerBase
    wording: Wording
    stops: tuple[int, ...]
    chat: Chat | None = None

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        wording: Wording | None = None,
        model_ends: Iterable[int] = (),
    ) -> "Prompt":
        """The prompt of a tokenizer, in the plain wording unless another one is given; `model_ends` are the end
        tokens that the model's own settings name.

        Ends are the end token, the end of a turn, and of a completion of one line every token that holds a line
        end: else an untrained model would be judged by the text after its answer. Raises InputError where the
        tokenizer lacks what the wording needs.
        """
        wording = wording or Wording()
        chat = Chat.of(tokenizer) if wording.is_chat else None
        ends = ends_of(tokenizer)
        tokens = [chat.end] if chat else []
        tokens += [token for token in ends.stops if token not in ends.line_ends]
        tokens += list(model_ends)
        tokens += sorted(ends.line_ends) if wording.is_one_line else []
        prompt = cls(tokenizer, wording, tuple(dict.fromkeys(tokens)), chat)
        prompt.check()
        return prompt

    def check(self) -> None:
        """InputError for a wording of one's own that the tokenizer would not read as it is written."""
        wording = self.wording
        texts = [wording.system, wording.instruction] if self.chat else [wording.template]
        for text, spelling in ((text, spelling) for text in texts for spelling in self.template_tokens):
            if spelling in text:
                raise InputError(
                    f"prompt: the text holds {spelling}, a special token; write the text without it, and "
                    'prompt.template="chat" for the turns that the model knows'
                )

    @property
    def template_tokens(self) -> tuple[str, ...]:
        """Spellings that only a template may write."""
        if self.chat:
            return self.chat.spellings
        return tuple(sorted(map(str, self.tokenizer.all_special_tokens)))

    @property
    def spellings(self) -> tuple[str, ...]:
        """The spellings that become special tokens in a source or reference text."""
        return self.chat.spellings if self.chat else ends_of(self.tokenizer).spellings

    @property
    def end(self) -> int:
        """The token behind every completion that the policy learns from."""
        return self.chat.end if self.chat else int(self.tokenizer.eos_token_id)

    def with_shots(self, shots: Sequence[Example]) -> "Prompt":
        """The same with these examples in every prompt, behind those that it has."""
        return replace(self, wording=replace(self.wording, shots=(*self.wording.shots, *shots)))

    def encode_prompt(self, example: Example) -> list[int]:
        """Token ids of a prompt. A text comes after the start token where the tokenizer has one; a chat template
        writes its own.
        """
        if self.chat:
            return self.chat.ids(self.wording.messages(example))
        start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return start + text_ids(self.tokenizer, self.wording.text(example))

    def encode_completion(self, text: str) -> list[int]:
        """Token ids of a completion and the end token."""
        ids = self.chat.start.ids(self.tokenizer, text) if self.chat else text_ids(self.tokenizer, text)
        return [*ids, self.end]

    def encode_pair(self, example: Example) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the first reference text with the end token."""
        return self.encode_prompt(example), self.encode_completion(example.reference)

    def decode_completion(self, ids: Sequence[int]) -> str:
        """The text before the first stop token, without special tokens and space at the ends; of a completion of
        one line, what is before the first line end.
        """
        tokens = [int(token) for token in ids]
        end = next((place for place, token in enumerate(tokens) if token in self._stop_set), len(tokens))
        with_text = ends_of(self.tokenizer).with_text if self.wording.is_one_line else frozenset[int]()
        last = tokens[end : end + 1] if with_text.intersection(tokens[end : end + 1]) else []
        text = str(self.tokenizer.decode(tokens[:end] + last, skip_special_tokens=True))
        return (text.split("\n")[0] if self.wording.is_one_line else text).strip()

    @cached_property
    def _stop_set(self) -> frozenset[int]:
        return frozenset(self.stops)

    def texts_of(self, example: Example) -> str:
        """All of an example that a prompt and its completion hold."""
        request = self.wording.request(example) if self.chat else self.wording.text(example)
        return f"{request}\n{example.reference}"

    @property
    def stops_in_words(self) -> str:
        """What ends a completion, for a reader."""
        lines = ends_of(self.tokenizer).line_ends if self.wording.is_one_line else frozenset()
        tokens = [token for token in self.stops if token not in lines]
        names = [str(self.tokenizer.convert_ids_to_tokens(token)) for token in tokens[:SHOWN_STOPS]]
        names += ["a line end"] if lines else []
        return " or ".join(names)

    def visible_text(self, example: Example) -> str:
        """The prompt with its special tokens, line ends and other characters that nobody sees."""
        return visible(str(self.tokenizer.decode(self.encode_prompt(example), skip_special_tokens=False)))

    def lines(self, example: Example) -> list[str]:
        """A prompt and what ends a completion, for a reader."""
        count = len(self.encode_prompt(example))
        wording = self.wording
        remarks = (*self.remarks, *wording.nameless(example), *wording.one_language(example))
        notes = [f"NOTE: {remark}" for remark in remarks]
        head = f"the first prompt, {count} tokens (\\n is a line end):"
        return [
            head,
            ends_of_text(self.visible_text(example)),
            f"a completion ends with {self.stops_in_words}",
            *notes,
        ]

    @property
    def remarks(self) -> list[str]:
        """What a user should know of the template."""
        found = []
        if self.chat and self.wording.system and not self.chat.takes_system:
            found.append(
                "the chat template has no system role: prompt.system stands in front of the first message"
            )
        if self.chat and self.chat.opens_thoughts:
            found.append(
                "the chat template always opens <think>, so the model learns to answer inside it; take a model that can "
                "answer without thinking"
            )
        return found


def ends_of_text(text: str) -> str:
    """The text; of a long one its begin and its end, and how many characters are between them.

    >>> ends_of_text("a" * 1500 + "b" * 999 + "c" * 500)[1495:1530]
    'aaaaa [... 999 characters ...] cccc'
    """
    between = len(text) - SHOWN_BEGIN - SHOWN_END
    if between <= 0:
        return text
    return f"{text[:SHOWN_BEGIN]} [... {between:,} characters ...] {text[-SHOWN_END:]}"


def visible(text: str) -> str:
    """The text with a sign for what cannot be seen.

    >>> visible("a\\tb\\u200b")
    'a\\\\tb\\\\u200b'
    """

    def sign(character: str) -> str:
        if character == "\n":
            return "\\n\n"
        is_hidden = unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Zs") and character != " "
        return character.encode("unicode_escape").decode() if is_hidden else character

    return "".join(map(sign, text)).removesuffix("\n")
