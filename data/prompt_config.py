"""Section [prompt]: how the model is asked, and what cannot be asked of it."""

from dataclasses import dataclass
from typing import Literal

from data.config import BUILT_IN, DataConfig
from data.script import primary
from data.settings import Rule, check_rules
from data.sources.headlines import HEADLINES
from data.sources.package_corpus import INTERFACES
from data.template import CHAT, ENGLISH, FIELDS, LABELS, PLAIN, unknown_fields


@dataclass(frozen=True)
class PromptConfig:
    """Section [prompt]. `template`: "english" or "plain" (a text that a base model continues, in English or Chinese
    words), "chat" (the tokenizer's own chat template), or your own text with {source}. Without it, a corpus of your own
    has "english", unless the model writes Chinese. docs/prompts.md has examples.

    `system` and `instruction` are of a chat: its system text, and the user's turn with {source}. Labels name the
    languages; "" = by the languages. `shots` examples of the training part stand in every prompt. `lines`: is a
    completion "one" line or "many"; "auto" = many for a chat, else one.
    """

    template: str = PLAIN
    system: str = ""  # the system text of a chat
    instruction: str = ""  # the user's turn of a chat, with {source}
    source_label: str = ""  # name of the source language in the prompt; "" = by the languages
    target_label: str = ""  # the same for the target language
    shots: int = 0
    lines: Literal["auto", "one", "many"] = "auto"


def default_template(config: DataConfig) -> str:
    """How a base model is asked where prompt.template says nothing: in the Chinese words of `PLAIN` for built-in corpora
    and to Chinese from languages that it names, else in English ones.
    """
    return PLAIN if all(map(is_for_plain, config.members.values())) else ENGLISH


def is_for_plain(config: DataConfig) -> bool:
    """Whether the words of `PLAIN` suit one corpus."""
    languages = set(map(primary, config.column_languages))
    is_built_in = config.pairs in (BUILT_IN, *INTERFACES, *HEADLINES)
    return is_built_in or (
        languages <= LABELS.keys() and primary(config.completion_language) in ("zh", "lzh")
    )


def check(config: PromptConfig) -> None:
    """InputError for the first combination of settings that cannot work."""
    check_rules([*text_rules(config), *chat_rules(config)])


def text_rules(config: PromptConfig) -> list[Rule]:
    """Rules of the user's own wording."""
    rules = []
    for name, text in (("template", config.template), ("instruction", config.instruction)):
        is_own = bool(text) and text not in (PLAIN, ENGLISH, CHAT)
        others = unknown_fields(text)
        rules += [
            (
                is_own and "{source}" not in text,
                f"prompt.{name} = {text!r}: must hold {{source}}, where the source text goes"
                + (f', or be "{PLAIN}", "{ENGLISH}" or "{CHAT}"' if name == "template" else ""),
            ),
            (
                is_own and bool(others),
                f"prompt.{name} holds {', '.join(others)}; known fields are {', '.join(FIELDS)}",
            ),
        ]
    return rules


def chat_rules(config: PromptConfig) -> list[Rule]:
    """Rules of what only some templates have."""
    texts = {"system": config.system, "instruction": config.instruction}
    return [
        *(
            (
                bool(text) and config.template != CHAT,
                f'prompt.{name} is of a chat, and prompt.template is not "{CHAT}"; write prompt.template="{CHAT}", '
                f"or put the text into prompt.template",
            )
            for name, text in texts.items()
        ),
        (
            config.shots == 0 and "{examples}" in config.template + config.instruction,
            "prompt: {examples} stands in the text, and prompt.shots = 0; write prompt.shots=3",
        ),
    ]
