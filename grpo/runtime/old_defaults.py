"""Settings whose default was another one in earlier versions: a run that began with it goes on with it.

Limits had numbers. Line ends of a corpus became spaces for every prompt. A prompt had Chinese words for every pair of
languages.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from data.console import say
from data.documents import read_object
from data.normalise import LINE_ENDS
from data.template import ENGLISH, PLAIN
from grpo.config import Config, with_numbers
from grpo.old_names import ADDED, current_keys
from grpo.runtime.run_folder import CONFIG, flat, holds_work

LIMITS = (
    "data.max_source_units",
    "data.max_target_units",
    "model.max_prompt_tokens",
    "sft.max_completion_tokens",
    "rollout.max_new_tokens",
    "eval.max_new_tokens",
)


def with_old_defaults(config: Config, folder: Path) -> Config:
    """The configuration with what the work in a run folder was made with: the limits, where it leaves them to the
    corpus (0), the steps of data.normalise, where it only adds that line ends stay, and the words of a prompt in English,
    where they were Chinese.
    """
    path = folder / CONFIG
    if not holds_work(folder) or not path.exists():
        return config
    old: dict[str, Any] = ADDED | current_keys(flat(read_object(path)))
    config = with_numbers(config, {name: old[name] for name in LIMITS if isinstance(old.get(name), int)})
    steps = old["data.normalise"]
    if isinstance(steps, list) and [*config.data.normalise] == [*steps, LINE_ENDS]:
        config = replace(config, data=replace(config.data, normalise=tuple(steps)))
    if (old["prompt.template"], config.prompt.template) == (PLAIN, ENGLISH):
        say(f"{path}: the prompt stays in Chinese words; for English ones write run_dir=runs/another")
        config = replace(config, prompt=replace(config.prompt, template=PLAIN))
    return config
