"""The prompt beside a policy: `prompt.json`, and a chat template by which servers ask the policy as it was trained."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.chat import MARK
from data.examples import Example
from data.model_settings import is_whole, model_settings
from data.normalise import default_steps
from data.prompt import Prompt
from data.prompt_record import FILE, FORMAT, Kind, load_wording


def kinds_of(examples: Iterable[Example]) -> list[Kind]:
    """The different kinds of examples, in their order."""
    return list(dict.fromkeys((e.source_language, e.target_language, e.task) for e in examples))


def example_of(kind: Kind, source: str) -> Example:
    """An example of a kind with this source, for its prompt."""
    source_language, target_language, task = kind
    return Example("", source, "", "", "", source_language, target_language, task)


def save(prompt: Prompt, kinds: Iterable[Kind], folder: Path, steps: Sequence[str] = ()) -> None:
    """Write the tokenizer, with a chat template that writes this prompt, and prompt.json. `steps`: how the texts of the
    corpus were normalised; () = by the default of the prompt.
    """
    kinds = list(kinds)
    steps = steps or default_steps(prompt.wording.is_one_line)
    template = chat_template(prompt, kinds)
    with template_of(prompt.tokenizer, template):
        prompt.tokenizer.save_pretrained(folder)
    facts = {
        "format": FORMAT,
        "wording": asdict(prompt.wording),
        "kinds": [kind_facts(prompt, kind) for kind in kinds],
        "normalise": list(steps),
        "end": prompt.end,
        "stops": list(prompt.stops),
        "servers_ask_rightly": template is not None,
    }
    (folder / FILE).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def kind_facts(prompt: Prompt, kind: Kind) -> dict[str, Any]:
    """What prompt.json says of one kind of examples, the rendered prompt with {source} included."""
    example = example_of(kind, "{source}")
    wording = prompt.wording
    names = wording.fields(example)
    labels = {f"{side}_label": names[f"{side}_language"] for side in ("source", "target")}
    text = prompt.chat.text(wording.messages(example)) if prompt.chat else wording.text(example)
    return {"source_language": kind[0], "target_language": kind[1], "task": kind[2], **labels, "prompt": text}


def load(folder: Path, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """The prompt that the policy in a folder was trained on; `tokenizer` is the one beside it."""
    return Prompt.of(tokenizer, load_wording(folder), model_ends(folder, tokenizer))


def model_ends(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end tokens that generation_config.json and config.json of a folder name, as far as the tokenizer has them."""
    tokens: list[Any] = []
    for name in ("generation_config.json", "config.json"):
        ends = model_settings(folder / name).get("eos_token_id")
        tokens += ends if isinstance(ends, list) else [ends]
    most = len(tokenizer)
    known = [t for t in tokens if is_whole(t) and 0 <= t < most]
    return tuple(dict.fromkeys(known))


@contextmanager
def template_of(tokenizer: PreTrainedTokenizerBase, template: str | None) -> Iterator[None]:
    """The tokenizer with this chat template, or none, for a while."""
    before = tokenizer.chat_template
    tokenizer.chat_template = template
    try:
        yield
    finally:
        tokenizer.chat_template = before


def chat_template(prompt: Prompt, kinds: list[Kind]) -> str | None:
    """The template for servers. A chat keeps its own. For a text it writes the prompt around the one message of
    the user, which is the source text; with several kinds of examples the variables `source_language` and
    `target_language` choose, else the first kind counts. None where no template gives the same token ids.
    """
    if prompt.chat:
        return prompt.chat.template
    start = "" if prompt.tokenizer.bos_token_id is None else "bos_token + "
    for space in ("''", "' '"):  # some tokenizers put a space in front of a text, not behind a special token
        bodies = [start + (f"{space} + " if start else "") + text_expression(prompt, kind) for kind in kinds]
        template = branches(kinds, bodies)
        if all(is_exact(prompt, kind, template) for kind in kinds):
            return template
    return None


def text_expression(prompt: Prompt, kind: Kind) -> str:
    """A Jinja expression for the text of a prompt."""
    parts = prompt.wording.text(example_of(kind, MARK)).split(MARK)
    return " + messages[-1]['content'] + ".join(json.dumps(part, ensure_ascii=False) for part in parts)


def branches(kinds: list[Kind], bodies: list[str]) -> str:
    """A template with a branch for each kind after the first."""
    text = ""
    for (source, target, _), body in zip(kinds[1:], bodies[1:], strict=True):
        pair = f"source_language == {json.dumps(source)} and target_language == {json.dumps(target)}"
        text += f"{{%- {'elif' if text else 'if'} {pair} %}}{{{{ {body} }}}}"
    first = f"{{{{ {bodies[0]} }}}}" if bodies else ""
    return f"{text}{{%- else %}}{first}{{%- endif %}}" if text else first


def is_exact(prompt: Prompt, kind: Kind, template: str) -> bool:
    """Whether a server that renders the template gets the token ids of the prompt."""
    example = example_of(kind, "a b")
    ids = prompt.tokenizer.apply_chat_template(
        [{"role": "user", "content": example.source}], chat_template=template, return_dict=False,
        add_generation_prompt=True, source_language=kind[0], target_language=kind[1],
    )  # fmt: skip
    return list(ids) == prompt.encode_prompt(example)
