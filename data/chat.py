"""What the chat template of a tokenizer writes: the tokens of a prompt, what an answer begins behind, and the
token that ends it. Everything is found by rendering; no family of models is known by name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.ends import text_ids
from data.errors import InputError
from data.template import Message

SWITCHES = ("enable_thinking", "thinking")  # variables by which templates turn thinking off
DATE = "strftime_now"  # the function by which a template writes the date
FIXED_DATE = "{%- macro strftime_now(form) %}26 Jul 2024{%- endmacro %}"
PARTS = (  # a message's text as the list of parts that templates of models with pictures go through
    "{%- set texts = namespace(messages=[]) %}{%- for message in messages %}{%- set content = message['content'] %}"
    "{%- if content is string %}{%- set content = [{'type': 'text', 'text': content}] %}{%- endif %}"
    "{%- set texts.messages = texts.messages + [{'role': message['role'], 'content': content}] %}{%- endfor %}"
    "{%- set messages = texts.messages %}{{ '' }}"
)
THOUGHTS = "<think>"
MARK = "qzxj"  # a text that no template holds
OTHER_MARK = "jxqz"
BORDER = 4  # characters before an answer that are compared


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template as it is used here: thinking is off, and a date in it stays the same day, so
    that a run that goes on tomorrow asks the same. Raises InputError for a template that cannot be used.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Chat":
        """InputError where the tokenizer has no chat template, or one that cannot be rendered."""
        name = getattr(tokenizer, "name_or_path", "") or "the model"
        advice = 'write prompt.template="plain", or your own text with {source}'
        if not tokenizer.chat_template:
            raise InputError(
                f'prompt.template="chat": the tokenizer of {name} has no chat template; {advice}'
            )
        try:
            own = str(tokenizer.get_chat_template())
            chats = [cls(tokenizer, fixed_template(template)) for template in (own, PARTS + own)]
            chat = next((chat for chat in chats if chat.writes_text), chats[0])
            chat.ids([{"role": "user", "content": MARK}])
            if not chat.writes_text:
                raise ValueError("it leaves out the message")
        except Exception as error:  # Jinja's own errors, and whatever a template does
            cause = " ".join(str(error).split())[:200]
            raise InputError(
                f'prompt.template="chat": the chat template of {name} cannot be used ({cause}); {advice}'
            ) from error
        return chat

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a prompt, up to where the answer begins."""
        return list(map(int, self._apply(messages, add_generation_prompt=True)))

    @property
    def template_ids(self) -> list[int]:
        """The tokens around a text, and the one behind an answer."""
        return [*self.ids([{"role": "user", "content": MARK}]), self.end]

    def text(self, messages: Sequence[Message], is_prompt: bool = True) -> str:
        """The same as text, or a whole conversation."""
        return str(self._apply(messages, add_generation_prompt=is_prompt, tokenize=False))

    def _apply(self, messages: Sequence[Message], **settings: Any) -> Any:
        turns = self.turns(messages)
        template = self.template
        return self.tokenizer.apply_chat_template(
            turns, chat_template=template, return_dict=False, **settings
        )

    def turns(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template takes them: the system text in front of the first message where there is
        no system role.
        """
        if messages[0]["role"] != "system" or self.takes_system:
            return list(messages)
        system, first, *others = messages
        return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes a system text. Some refuse it and some leave it out."""
        return self._writes_mark(
            [{"role": "system", "content": MARK}, {"role": "user", "content": OTHER_MARK}]
        )

    @cached_property
    def writes_text(self) -> bool:
        """Whether the template writes what a user says. Some take no text but a list of parts."""
        return self._writes_mark([{"role": "user", "content": MARK}])

    @property
    def opens_thoughts(self) -> bool:
        """Whether a prompt ends inside thoughts, which no switch of the template turns off."""
        return self.text([{"role": "user", "content": MARK}]).rstrip().endswith(THOUGHTS)

    def _writes_mark(self, turns: list[Message]) -> bool:
        try:
            text = self.tokenizer.apply_chat_template(turns, chat_template=self.template, tokenize=False)
        except Exception:  # a template refuses by an error of its own
            return False
        return MARK in str(text)

    @cached_property
    def _around_answer(self) -> tuple[str, str]:
        """What a whole conversation has between the prompt and the answer, and behind the answer."""
        question = [{"role": "user", "content": OTHER_MARK}]
        whole = self.text([*question, {"role": "assistant", "content": MARK}], is_prompt=False)
        before, found, after = whole.rpartition(MARK)
        prompt = self.text(question)
        lead = before.removeprefix(prompt)
        return (lead if found and before.startswith(prompt) else ""), after

    @cached_property
    def end(self) -> int:
        """The token that the template writes behind an answer; the end token where it writes none."""
        added = self.tokenizer.added_tokens_decoder
        ends = {token for token, text in added.items() if str(text).strip()} | {self.tokenizer.eos_token_id}
        after = self.tokenizer.encode(self._around_answer[1], add_special_tokens=False)
        return int(next((token for token in after if token in ends), self.tokenizer.eos_token_id))

    @cached_property
    def start(self) -> "Start":
        """How an answer is tokenised so that it stands behind the prompt as the template writes it."""
        lead = self._around_answer[0]
        lead = "" if lead.strip() else lead  # a header that is no part of the prompt: the model writes it
        question = [{"role": "user", "content": OTHER_MARK}]
        prompt = self.ids(question)
        border = (self.text(question)[-BORDER:] + lead + MARK)[-BORDER - len(MARK) :]
        starts = [Start("", lead), Start("", ""), Start("\n", lead)]
        for start in starts:
            ids = [*prompt, *start.ids(self.tokenizer, MARK)]
            if str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)).endswith(border):
                return start
        return Start("", "")

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """The spellings of special tokens: in a message each becomes its token."""
        added = {str(text) for text in self.tokenizer.added_tokens_decoder.values() if text.special}
        return tuple(sorted(added | set(map(str, self.tokenizer.all_special_tokens))))


@dataclass(frozen=True)
class Start:
    """An answer is tokenised with `lead` in front of it, behind `context`, whose tokens are left out: some
    tokenizers put a space in front of every text that they are given alone.
    """

    context: str
    lead: str

    def ids(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Token ids of an answer."""
        before = text_ids(tokenizer, self.context) if self.context else []
        return text_ids(tokenizer, self.context + self.lead + text)[len(before) :]


def fixed_template(template: str) -> str:
    """A chat template with thinking off unless it is asked for, and with a fixed date; the template itself where
    it has neither.
    """
    names = [name for name in SWITCHES if re.search(rf"\b{name}\b", template)]
    head = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = false %}}{{%- endif %}}" for name in names
    )
    head += FIXED_DATE if DATE in template else ""
    if not head or template.startswith(head):
        return template
    return f"{head}{{{{ '' }}}}{template}"
