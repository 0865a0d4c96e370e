"""Settings that have another name now. The old name is still read wherever a setting can stand: in a file, on
the command line, in the list of a study, and in the folders of earlier runs and studies.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from data.console import say
from data.errors import InputError

OLD_NAMES = {  # section.key: its name now
    "rollout.fast_decode": "engine.fast_decode",
    "train.packed_attention": "engine.packed_attention",
    "train.share_prefix": "engine.share_prefix",
    "train.gradient_checkpointing": "engine.gradient_checkpointing",
    "sft.anchor": "anchor.sft",
    "train.anchor": "anchor.train",
    "tax.anchor_texts": "anchor.batch_size",
}
# settings that a folder of an earlier version lacks, with the value that it was made with
ADDED = {
    "data.train": "",
    "data.dev": "",
    "data.test": "",
    "data.temperature": 1.0,
    "data.prompts": "",
    "data.catalogue": "auto",
    "data.warm_start": "",
    "data.task": "",
    "anchor.text": "",
    "anchor.texts": 256,
    "anchor.max_tokens": 64,
    "model.add_pieces": 0,
    "engine.number_format": "auto",
    "engine.deterministic": False,
    "engine.fuse": "auto",
    "engine.weights": "fp32",
    "engine.gradients": "fp32",
    "engine.moments": "fp32",
    "engine.step_in_backward": False,
    "engine.frozen": "device",
    "parallel.mode": "data",
    "parallel.patience": 60.0,
    "sft.pairs": "own",
    "sft.optim.name": "adamw",
    "train.optim.name": "adamw",
    "sft.optim.lower_lr_share": 1.0,
    "train.optim.lower_lr_share": 1.0,
    "sft.optim.epsilon": 1e-8,
    "train.optim.epsilon": 1e-8,
    "rollout.redraws": 0,
    "rollout.parts": 1,
    "train.nearest_pairs": 0,
    "train.refresh_every": 0,
    "loss.sampler_cap": 0.0,
    "loss.kl_reference": "warm_start",
    "loss.skip_cut": False,
    "guide.mode": "none",
    "guide.shaping": 0.1,
    "guide.weight": 1.0,
    "guide.final_weight": 0.1,
    "guide.uncertain_tokens": False,
    "guide.threshold": 0.3,
    "guide.every": 4,
    "token_loss.sft": "nll",
    "token_loss.train": "nll",
    "token_loss.kl_coef": 0.05,
    "replay.sft": 0.0,
    "replay.train": 0.0,
    "protection.sft": "none",
    "protection.train": "none",
    "protection.strength": 1000.0,
    "protection.texts": 500,
    "prompt.template": "plain",
    "prompt.system": "",
    "prompt.instruction": "",
    "prompt.source_label": "",
    "prompt.target_label": "",
    "prompt.shots": 0,
    "prompt.lines": "auto",
    "reward.identifier": "",
    "reward.one_metric_at_a_time": False,
    "reward.metric_format": "fp32",
    "reward.metric_share": 1.0,
    "eval.by_document": False,
    "eval.best_by": "cosine_held_out",  # a best checkpoint by another score is not compared (grpo/runtime/checkpoint.py)
    "log.to": ["tensorboard"],
    "data.normalise": ["invisible", "tsheg", "nfc"],
}

say_once = cache(say)  # a study reads the same file for every arm


def current_name(key: str) -> str:
    """The name of the setting `key` now."""
    return OLD_NAMES.get(key, key)


def current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"section.key": value} with the names of now."""
    return {current_name(key): value for key, value in values.items()}


def current_table(values: dict[str, Any], place: str) -> dict[str, Any]:
    """Nested settings with the names of now; one printed line for each old name. Raises InputError for a
    setting under both its names.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for old, new in OLD_NAMES.items():
        section, name = old.split(".")
        new_section, new_name = new.split(".")
        if not isinstance(result.get(section), dict) or name not in result[section]:
            continue
        target = result.setdefault(new_section, {})
        if not isinstance(target, dict):  # refused by the reader, with its own sentence
            continue
        _check_single(old, target.keys() & {new_name}, place)
        target[new_name] = result[section].pop(name)
        say_once(f"{place}: {old} is now {new}")
    return result


def current_overrides(overrides: Sequence[str], place: str) -> list[str]:
    """`key=value` texts with the names of now; one printed line for each old name. Raises InputError for a
    setting under both its names.
    """
    keys = {text.partition("=")[0].strip() for text in overrides}
    result = []
    for text in overrides:
        key, equals, value = text.partition("=")
        old = key.strip()
        if old in OLD_NAMES:
            _check_single(old, keys & {OLD_NAMES[old]}, place)
            say_once(f"{place}: {old} is now {OLD_NAMES[old]}")
        result.append(f"{current_name(old)}{equals}{value}" if old in OLD_NAMES else text)
    return result


def _check_single(old: str, both: set[str], place: str) -> None:
    if both:
        raise InputError(
            f"{place}: {old} is the old name of {OLD_NAMES[old]}, and both are given; write the new one"
        )
