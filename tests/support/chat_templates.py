"""Chat templates of the shapes that families of models use, in words of our own, and tokenizers that have them.

A shape is what a template does: how a turn begins and ends, whether it writes the start token, what it does with a
system text, and whether it has a switch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tiny_tokenizers
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from data.examples import Example

REFUSAL = "{{ raise_exception('this family has no system turn') }}"


@dataclass(frozen=True)
class Family:
    """A template; the special tokens that it writes beside <bos> and <eos>; the token that ends an answer; and
    whether it writes a system text.
    """

    template: str
    tokens: tuple[str, ...] = ()
    end: str = "<eos>"
    takes_system: bool = True


def headed(
    head: str, tail: str, opening: str, start: str = "", roles: str = "message.role", no_system: str = ""
) -> str:
    """Every turn the same: `head` with {r} for the role, the text, `tail`; `opening` begins the answer."""
    before, after = head.split("{r}")
    refuse = f"{{% if message.role == 'system' %}}{no_system}{{% endif %}}" if no_system else ""
    return (
        f"{start}{{% for message in messages %}}{refuse}{{{{ '{before}' + {roles} + '{after}' + message.content | trim + '{tail}' }}}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{opening}' }}}}{{% endif %}}"
    )


def bracketed(system: str, answer: str, start: str = "{{ bos_token }}") -> str:
    """Requests in brackets, answers behind them with the end token, as Llama 2 and Mistral have it."""
    return (
        f"{start}{{% for message in messages %}}{{% if message.role == 'system' %}}{system}{{% elif message.role == 'user' %}}"
        f"{{{{ '[INST] ' + message.content + ' [/INST]' }}}}{{% else %}}{answer}{{% endif %}}{{% endfor %}}"
    )


START = "{{ bos_token }}"
CHATML = headed("<|im_start|>{r}\\n", "<|im_end|>\\n", "<|im_start|>assistant\\n")
IM = ("<|im_start|>", "<|im_end|>")
LLAMA3 = ("<|head|>", "<|head_end|>", "<|eot|>")
AS_MODEL = "('model' if message.role == 'assistant' else message.role)"
THINKS = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
BY_NAME = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
    "{% elif message.role == 'user' %}{{ 'USER: ' + message.content + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message.content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
FAMILIES: dict[str, Family] = {
    "chatml": Family(CHATML, IM, "<|im_end|>"),
    "qwen2.5": Family(
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou answer.<|im_end|>\\n' }}{% endif %}"
        + CHATML,
        IM,
        "<|im_end|>",
    ),
    "qwen3": Family(THINKS, IM, "<|im_end|>"),
    "smollm": Family(
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are small.<|im_end|>\\n' }}{% endif %}"
        + CHATML,
        IM,
        "<|im_end|>",
    ),
    "yi": Family(headed("<|im_start|>{r}\\n", "<|im_end|>\\n", "<|im_start|>assistant\\n"), IM, "<|im_end|>"),
    "internlm": Family(
        headed("<|im_start|>{r}\\n", "<|im_end|>\\n", "<|im_start|>assistant\\n", START), IM, "<|im_end|>"
    ),
    "llama2": Family(
        bracketed(
            "{{ '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' }}",
            "{{ ' ' + message.content + ' ' + eos_token }}",
        )
    ),
    "mistral": Family(bracketed(REFUSAL, "{{ ' ' + message.content + eos_token }}"), takes_system=False),
    "mixtral": Family(bracketed("", "{{ message.content + eos_token }}"), takes_system=False),
    "llama3": Family(
        headed("<|head|>{r}<|head_end|>\\n\\n", "<|eot|>", "<|head|>assistant<|head_end|>\\n\\n", START),
        LLAMA3,
        "<|eot|>",
    ),
    "llama3.1, with a date": Family(
        START
        + "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% else %}{% set today = 'one day' %}{% endif %}"
        "{{ '<|head|>system<|head_end|>\\n\\nToday is ' + today + '\\n\\n' }}"
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{{ '<|eot|>' }}"
        "{% for message in messages if message.role != 'system' %}"
        "{{ '<|head|>' + message.role + '<|head_end|>\\n\\n' + message.content + '<|eot|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|head|>assistant<|head_end|>\\n\\n' }}{% endif %}",
        LLAMA3,
        "<|eot|>",
    ),
    "gemma": Family(
        headed("<turn>{r}\\n", "<turn_end>\\n", "<turn>model\\n", START, AS_MODEL, REFUSAL),
        ("<turn>", "<turn_end>"),
        "<turn_end>",
        False,
    ),
    "gemma3": Family(
        START
        + "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\\n\\n' %}{% set rest = messages[1:] %}"
        "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}"
        "{{ '<turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}"
        "{{ (first if loop.first else '') + message.content + '<turn_end>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}",
        ("<turn>", "<turn_end>"),
        "<turn_end>",
    ),
    "gemma3, of parts": Family(
        START
        + "{% if messages[0].role == 'system' %}{% set first = messages[0].content[0].text + '\\n\\n' %}{% set rest = messages[1:] %}"
        "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}"
        "{{ '<turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' + (first if loop.first else '') }}"
        "{% for part in message.content %}{% if part.type == 'image' %}{{ '<picture>' }}{% elif part.type == 'text' %}{{ part.text }}"
        "{% endif %}{% endfor %}{{ '<turn_end>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}",
        ("<turn>", "<turn_end>"),
        "<turn_end>",
    ),
    "of parts, without a system turn": Family(
        "{% for message in messages %}{% if message.content is string %}{{ raise_exception('parts are needed') }}{% endif %}"
        "{% if message.role == 'system' %}"
        + REFUSAL
        + "{% endif %}{{ '<|im_start|>' + message.role + '\\n' + message.content[0]['text'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        IM,
        "<|im_end|>",
        False,
    ),
    "a start token in every request": Family(
        "{% for message in messages %}{% if message.role == 'user' %}{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}"
        "{% elif message.role == 'system' %}{{ message.content }}"
        "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"
    ),
    "two ends behind an answer": Family(
        headed("<|{r}|>\\n", "<|over|>\\n", "<|assistant|>\\n")
        + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}",
        ("<|user|>", "<|system|>", "<|assistant|>", "<|over|>"),
        "<|over|>",
    ),
    "phi3": Family(
        headed("<|{r}|>\\n", "<|over|>\\n", "<|assistant|>\\n"),
        ("<|user|>", "<|system|>", "<|assistant|>", "<|over|>"),
        "<|over|>",
    ),
    "phi4": Family(
        headed("<|im_start|>{r}<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
        (*IM, "<|im_sep|>"),
        "<|im_end|>",
    ),
    "deepseek": Family(
        START + "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}"
        "{% elif message.role == 'user' %}{{ '<|U|>' + message.content }}"
        "{% else %}{{ '<|A|></think>' + message.content + eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|A|>' }}"
        "{% if thinking is defined and not thinking %}{{ '</think>' }}{% endif %}{% endif %}",
        ("<|U|>", "<|A|>"),
    ),
    "command-r": Family(
        headed("<|turn|><|{r}|>", "<|turn_end|>", "<|turn|><|assistant|>", START),
        ("<|turn|>", "<|turn_end|>", "<|user|>", "<|system|>", "<|assistant|>"),
        "<|turn_end|>",
    ),
    "aya": Family(
        headed("<|turn|><|{r}|>", "<|turn_end|>", "<|turn|><|assistant|>", START, no_system=REFUSAL),
        ("<|turn|>", "<|turn_end|>", "<|user|>", "<|assistant|>"),
        "<|turn_end|>",
        False,
    ),
    "zephyr": Family(headed("<|{r}|>\\n", "<eos>\\n", "<|assistant|>\\n")),
    "tulu": Family(headed("<|{r}|>\\n", "\\n", "<|assistant|>\\n")),
    "olmo": Family(
        START
        + "{% for message in messages %}{% if message.role == 'assistant' %}{{ '<|assistant|>\\n' + message.content + eos_token }}"
        "{% if not loop.last %}{{ '\\n' }}{% endif %}{% else %}{{ '<|' + message.role + '|>\\n' + message.content + '\\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    "vicuna": Family(BY_NAME),
    "vicuna, with a start token": Family(START + BY_NAME),
    "falcon": Family(
        "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
        "{{ ('Falcon' if message.role == 'assistant' else message.role | capitalize) + ': ' + message.content }}"
        "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\nFalcon:' }}{% endif %}"
    ),
    "granite": Family(
        headed("<|role|>{r}<|role_end|>", "<eos>\\n", "<|role|>assistant<|role_end|>"),
        ("<|role|>", "<|role_end|>"),
    ),
}
KINDS: dict[str, Callable[[Path], PreTrainedTokenizerBase]] = {
    "byte level": lambda _: tiny_tokenizers.byte_level(
        ("t", "h"), ("\u0120", "t"), ("\u0120t", "h"), ("\u010a", "\u010a")
    ),
    "llama": tiny_tokenizers.llama,
    "gemma": tiny_tokenizers.gemma,
}
EXAMPLE = Example("1", "the dog", "the cat", "o", "l", "en", "sw")
SHOTS = (replace(EXAMPLE, source="a cat", reference="x"), replace(EXAMPLE, source="a", reference="the b"))


def with_template(tokenizer: PreTrainedTokenizerBase, family: Family) -> PreTrainedTokenizerBase:
    """The tokenizer with the template of a family and its special tokens."""
    tokenizer.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(text, special=True, normalized=False) for text in family.tokens
            ]
        }
    )
    tokenizer.chat_template = family.template.replace("<eos>", str(tokenizer.eos_token))
    return tokenizer
