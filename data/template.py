"""Converts an example to token ids and back: the one place that defines the wording of a prompt.

A base model continues a text: the source text after its language's name, then the name of what to write (the
target language, or a headline in it). The completion follows and ends with the end token. Prompt and
completion are tokenised apart, so a prompt has the same ids with every completion.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from data.ends import ends_of, text_ids
from data.errors import InputError
from data.examples import Example
from data.script import primary

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
    "mt": "{source_label}：{source}\n{target_label}：",
    "headline": "{source_label}：{source}\n{target_label}标题：",
}


def prompt_text(example: Example) -> str:
    """The wording of a prompt; a language without a label in LABELS appears as its code. Raises InputError
    for an unknown task.
    """
    if example.task not in TEMPLATES:
        raise InputError(
            f"example {example.id}: unknown task {example.task!r}; known tasks: {', '.join(TEMPLATES)}"
        )
    codes = map(primary, (example.source_language, example.target_language))
    source_label, target_label = (LABELS.get(code, code) for code in codes)
    return TEMPLATES[example.task].format(
        source_label=source_label, source=example.source, target_label=target_label
    )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[int]:
    """Token ids of a prompt, after the start token where the tokenizer has one."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return start + text_ids(tokenizer, prompt_text(example))


def encode_completion(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a completion and the end token."""
    return [*text_ids(tokenizer, text), tokenizer.eos_token_id]


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a completion: end token, end of a turn, and every token that holds a line end.

    A completion is one line. Without line ends as stops, an untrained model would be judged by the text after
    its answer.
    """
    return ends_of(tokenizer).stops


def decode_completion(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text before the first stop token or line end, without special tokens and space at the ends."""
    ends = ends_of(tokenizer)
    tokens = [int(token) for token in ids]
    stops = frozenset(ends.stops)
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens))
    last = tokens[end : end + 1] if ends.with_text.intersection(tokens[end : end + 1]) else []
    return str(tokenizer.decode(tokens[:end] + last, skip_special_tokens=True)).split("\n")[0].strip()
