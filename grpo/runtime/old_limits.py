"""The length limits of earlier versions had numbers by default; a run that began with them goes on with them."""

from pathlib import Path

from data.documents import read_object
from grpo.config import Config, with_numbers
from grpo.old_names import current_keys
from grpo.runtime.run_folder import CONFIG, flat, holds_work

LIMITS = (
    "data.max_source_units",
    "data.max_target_units",
    "model.max_prompt_tokens",
    "sft.max_completion_tokens",
    "rollout.max_new_tokens",
    "eval.max_new_tokens",
)


def with_old_limits(config: Config, folder: Path) -> Config:
    """The configuration with the limits that the work in a run folder was made with, where it leaves them to the
    corpus (0).
    """
    path = folder / CONFIG
    if not holds_work(folder) or not path.exists():
        return config
    old = current_keys(flat(read_object(path)))
    return with_numbers(config, {name: old[name] for name in LIMITS if isinstance(old.get(name), int)})
