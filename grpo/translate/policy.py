"""The policy that translates: its prompt, and the settings of the run that made it."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from data.clean import clean_as_read
from data.errors import InputError
from data.examples import Example
from data.normalise import default_steps
from data.prompt import Prompt
from data.prompt_record import Kind, load_kinds, read_record
from data.saved_prompt import example_of, load
from grpo.config import Config
from grpo.engine.model import load_policy, load_tokenizer
from grpo.runtime import device
from grpo.runtime.device import Compute
from grpo.runtime.run_folder import policy_in, run_of, settings_in
from grpo.stages.lengths import PROMPT
from grpo.stages.token_limits import OUTPUT, known_limits

PAIR = "--source-language and --target-language"
ALONE = {PROMPT: 2048, OUTPUT: 256}  # tokens, for a folder outside of a run: its limits are not known


@dataclass(frozen=True)
class Policy:
    """A model folder and how it is asked.

    run       the run folder that it lies in; None for a folder alone
    settings  section.key -> value of that run, else the defaults
    kind      languages and task of the lines
    kinds     those that it was trained on
    """

    folder: Path
    run: Path | None
    settings: Mapping[str, Any]
    prompt: Prompt
    kind: Kind
    kinds: Sequence[Kind]

    def example(self, text: str) -> Example:
        """A line as an example, normalised as the corpus of the run was."""
        return example_of(self.kind, clean_as_read(text, self.settings["data.normalise"], self.kind[0]))

    def problem(self, example: Example, max_prompt_tokens: int) -> str:
        """Why an example gets no output, or ""."""
        if not example.source:
            return "with an empty source"
        if any(spelling in self.prompt.texts_of(example) for spelling in self.prompt.spellings):
            return "with the spelling of a special token"
        if len(self.prompt.encode_prompt(example)) > max_prompt_tokens:
            return f"longer than {max_prompt_tokens} tokens with the prompt"
        return ""


def open_policy(path: Path, source_language: str = "", target_language: str = "") -> Policy:
    """The policy of a run folder or model folder. Raises InputError."""
    folder = policy_in(path)
    run = run_of(folder)
    kinds = load_kinds(folder)
    kind = chosen_kind(folder, kinds, source_language, target_language)
    prompt = load(folder, load_tokenizer(folder))
    return Policy(folder, run, settings_of(folder, run, prompt), prompt, kind, kinds)


def load_model(policy: Policy, where: str | None) -> tuple[PreTrainedModel, Compute]:
    """The model of a policy for reading only, on the device `where`, or that of the run."""
    settings = policy.settings
    compute = device.choose(where or settings["device"], settings["engine.number_format"])
    device.configure(compute, settings["threads"], settings["engine.deterministic"])
    packed_attention = settings["engine.packed_attention"]
    model = load_policy(policy.folder, compute.device, packed_attention, compute.format)
    return model.requires_grad_(False), compute


def check_options(options: argparse.Namespace, sentence: str, counts: Sequence[str]) -> None:
    """InputError, with this sentence, for several processes; and for one of the options `counts` that is below 1."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(sentence)
    for name in counts:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: a number from 1 is needed")


def settings_of(folder: Path, run: Path | None, prompt: Prompt) -> dict[str, Any]:
    """The settings of a run, with the numbers that it has measured where a limit was left to its corpus; of a policy's
    folder alone the defaults, and the normalisation that its prompt.json records.
    """
    if run is None:
        steps = read_record(folder).get("normalise") or [*default_steps(prompt.wording.is_one_line)]
        return settings_in(None) | {"data.normalise": steps} | ALONE
    settings = settings_in(run)
    known = known_limits(replace(Config(), run_dir=str(run)))
    return settings | {name: number for name, number in known.items() if not settings[name]}


def chosen_kind(folder: Path, kinds: Sequence[Kind], source: str, target: str) -> Kind:
    """The first kind of these languages, "" for any. A model that was saved without its kinds is asked to translate
    between the two. Raises InputError.
    """
    fitting = [kind for kind in kinds if source in ("", kind[0]) and target in ("", kind[1])]
    if fitting:
        return fitting[0]
    if kinds:
        known = ", ".join(f"{one} to {other}" for one, other, _ in kinds)
        wish = f"{source or 'any language'} to {target or 'any language'}"
        raise InputError(f"{folder}: was trained on {known}, not on {wish}; write {PAIR} of those")
    if not (source and target):
        raise InputError(
            f"{folder}: no prompt.json says which languages this model was trained on; write {PAIR}"
        )
    return source, target, "mt"
