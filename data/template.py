"""The wording of a prompt: the one place that says in which words a model is asked. No token ids here.

A base model continues a text: "plain" in Chinese words and "english" in English ones give it the source text after its
language's name, then the name of what to write (the target language, or a headline, summary or answer in it); a free
prompt is the source text as it is. A chat model answers a message.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.examples import Example
from data.language_names import language_name, short_name
from data.script import primary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from data.prompt import Prompt

PLAIN = "plain"
ENGLISH = "english"
CHAT = "chat"
LABELS = {
    "bo": "藏文",
    "dz": "宗喀文",
    "zh": "中文",
    "lzh": "文言文",
    "en": "英文",
    "ug": "维吾尔文",
    "mn": "蒙古文",
    "kk": "哈萨克文",
}
TEMPLATES = {
    "mt": "{source_language}：{source}\n{target_language}：",
    "headline": "{source_language}：{source}\n{target_language}标题：",
    "summary": "{source_language}：{source}\n{target_language}摘要：",
    "answer": "{source_language}问题：{source}\n{target_language}回答：",
    "free": "{source}",
}
ENGLISH_TEMPLATES = {
    "mt": "{source_language}: {source}\n{target_language}:",
    "headline": "{source_language}: {source}\nHeadline in {target_language}:",
    "summary": "{source_language}: {source}\nSummary in {target_language}:",
    "answer": "Question in {source_language}: {source}\nAnswer in {target_language}:",
    "free": "{source}",
}
OF_BASE_MODELS = {PLAIN: TEMPLATES, ENGLISH: ENGLISH_TEMPLATES}
INSTRUCTIONS = {
    "mt": "Translate this text from {source_language} to {target_language}. Answer with the translation only.\n\n{source}",
    "headline": "Write a headline in {target_language} for this text in {source_language}. Answer with the headline only.\n\n{source}",
    "summary": "Summarise this text in {source_language}. Write the summary in {target_language}, and nothing else.\n\n{source}",
    "answer": "Answer this question in {target_language}. Give the answer only.\n\n{source}",
    "free": "{source}",
}
SHOT = "{source_language}: {source}\n{target_language}: "  # an example in the place of {examples}
FIELDS = ("{source}", "{source_language}", "{target_language}", "{examples}")
FIELD = re.compile(r"\{([A-Za-z_]+)\}")

Message = dict[str, str]  # of a chat: role and content


def unknown_fields(text: str) -> list[str]:
    """The words in braces that are no field; other braces are text.

    >>> unknown_fields('{"text": "{source}"} {text}')
    ['{text}']
    """
    return [found[0] for found in FIELD.finditer(text) if found[0] not in FIELDS]


def fill(text: str, fields: Mapping[str, str]) -> str:
    """The text with the value of each field; braces within a value stay as they are."""
    return FIELD.sub(lambda found: fields.get(found[1], found[0]), text)


@dataclass(frozen=True)
class Wording:
    """What every prompt of a run says: the settings of [prompt], and the examples that stand in each prompt."""

    template: str = PLAIN
    system: str = ""
    instruction: str = ""
    source_label: str = ""
    target_label: str = ""
    lines: str = "auto"
    shots: tuple[Example, ...] = ()

    @classmethod
    def of(cls, settings: Any, shots: Sequence[Example] = ()) -> "Wording":
        """The wording of a section [prompt] (data/prompt_config.py)."""
        return cls(**{**asdict(settings), "shots": tuple(shots)})

    @property
    def is_chat(self) -> bool:
        return self.template == CHAT

    @property
    def is_one_line(self) -> bool:
        """Whether a line end ends a completion."""
        return self.lines == "one" or (self.lines == "auto" and not self.is_chat)

    @property
    def gap(self) -> str:
        """What stands between two examples of a text."""
        return "\n" if self.is_one_line else "\n\n"

    def label(self, code: str, own_label: str) -> str:
        """The name of a language in the prompt. The plain wording says a language without a label in LABELS
        by its code, any other wording by its English name (`data.language_names.short_name`).
        """
        if own_label:
            return own_label
        return LABELS.get(primary(code), primary(code)) if self.template == PLAIN else short_name(code)

    def labels(self, source: str, target: str) -> tuple[str, str]:
        """The names of both languages; of one language in two scripts with both scripts."""
        names = self.label(source, self.source_label), self.label(target, self.target_label)
        if primary(source) != primary(target) or self.source_label or self.target_label:
            return names
        full = language_name(source), language_name(target)
        return full if full[0] != full[1] else names

    def nameless(self, example: Example) -> list[str]:
        """Sentences on the languages that a prompt says by their codes, for lack of a name and of a label."""
        asking = self.instruction or of_task(INSTRUCTIONS, example)
        text = asking if self.is_chat else self.template_of(example)
        codes = {"source": example.source_language, "target": example.target_language}
        own_labels = self.source_label, self.target_label
        names = zip(codes.items(), self.labels(*codes.values()), own_labels, strict=True)
        found = {
            side: code
            for (side, code), name, own in names
            if f"{{{side}_language}}" in text and name == primary(code) and not own
        }
        if found and self.template == PLAIN:
            return [
                f'prompt.template="plain" is in Chinese and says only the code of {" and ".join(map(primary, found.values()))}; '
                'write prompt.template="english", or prompt.source_label and prompt.target_label (docs/prompts.md)'
            ]
        return [
            f'{code} has no English name, so the prompt says the code; write prompt.{side}_label="NAME"'
            for side, code in found.items()
        ]

    def one_language(self, example: Example) -> list[str]:
        """A sentence where our own words ask for a translation into the language of the source."""
        setting = "prompt.instruction" if self.is_chat else "prompt.template"
        is_ours = not self.instruction if self.is_chat else self.template in OF_BASE_MODELS
        source, target = self.labels(example.source_language, example.target_language)
        if example.task != "mt" or source != target or not is_ours:
            return []
        return [
            f'the prompt asks for a translation from {source} to {target}; write data.task="summary", "headline", "answer" or '
            f'"free", or your own words as {setting}'
        ]

    def template_of(self, example: Example) -> str:
        """What a prompt is filled into, for all but a chat. Raises InputError for an unknown task."""
        by_task = OF_BASE_MODELS.get(self.template)
        return of_task(by_task, example) if by_task else self.template

    def fields(self, example: Example) -> dict[str, str]:
        """What stands for each field of FIELDS but {examples}."""
        source, target = self.labels(example.source_language, example.target_language)
        return {"source": example.source, "source_language": source, "target_language": target}

    def text(self, example: Example) -> str:
        """The prompt as one text, for all but a chat. Raises InputError for an unknown task."""
        template = self.template_of(example)
        if "{examples}" in template:
            return self._with_examples(template, example)
        shots = (fill(template, self.fields(shot)) + shot.reference + self.gap for shot in self.shots)
        return "".join(shots) + fill(template, self.fields(example))

    def messages(self, example: Example) -> list[Message]:
        """The turns of a chat: the examples as earlier turns, then what is asked. Raises InputError for an
        unknown task.
        """
        system = (
            [{"role": "system", "content": fill(self.system, self.fields(example))}] if self.system else []
        )
        if "{examples}" in self.instruction:
            return [*system, {"role": "user", "content": self._with_examples(self.instruction, example)}]
        turns = []
        for shot in self.shots:
            turns.append({"role": "user", "content": self.request(shot)})
            turns.append({"role": "assistant", "content": shot.reference})
        return [*system, *turns, {"role": "user", "content": self.request(example)}]

    def request(self, example: Example) -> str:
        """What the user's turn of a chat says."""
        return fill(self.instruction or of_task(INSTRUCTIONS, example), self.fields(example))

    def _with_examples(self, template: str, example: Example) -> str:
        shots = self.gap.join(fill(SHOT, self.fields(shot)) + shot.reference for shot in self.shots)
        return fill(template, self.fields(example) | {"examples": shots})


def of_task(wordings: Mapping[str, str], example: Example) -> str:
    """The wording of an example's task. Raises InputError for an unknown one."""
    if example.task not in wordings:
        raise InputError(
            f"example {example.id}: unknown task {example.task!r}; known tasks: {', '.join(wordings)}"
        )
    return wordings[example.task]


# The plain wording by functions, for programs of users; a run asks by its own `data.prompt.Prompt`, which imports this
# module.


def plain_prompt(tokenizer: "PreTrainedTokenizerBase") -> "Prompt":
    """The plain wording with a tokenizer."""
    from data.prompt import Prompt

    return Prompt.of(tokenizer)


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", example: Example) -> list[int]:
    """Token ids of a prompt in the plain wording, after the start token where the tokenizer has one."""
    return plain_prompt(tokenizer).encode_prompt(example)


def encode_completion(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a completion and the end token."""
    return plain_prompt(tokenizer).encode_completion(text)


def stop_ids(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """The tokens that end a completion of one line."""
    return plain_prompt(tokenizer).stops


def decode_completion(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text before the first stop, without special tokens and space at the ends."""
    return plain_prompt(tokenizer).decode_completion(ids)
