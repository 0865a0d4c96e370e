"""Names in run folders of earlier versions, which called the stage `train` by its method.

What writes into a run folder calls `update_names` first, so that nothing else has to know the old names.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from data.cache import atomic_write_text
from data.system import link

Names = Mapping[str, str]  # old -> present
COMMAND_STAGES: Names = {"grpo": "train"}  # of --stages, checkpoints/ and timings.json
LOG_STAGES: Names = {"grpo": "train", "strong_sft": "train", "best_of_group": "train"}
SYSTEMS: Names = {"grpo": "trained", "grpo_best": "trained_best"}  # of eval/

ROW = r'(?:\A|\n)\{"stage": '  # what stands before a name: in a log,
SYSTEM = r'"(?:system|before|after)": '  # in a result of the evaluation,
KEY = r"[{,]\s*"  # as a key in timings.json


def update_names(folder: Path) -> None:
    """Give everything in a run folder its present name. A second call changes nothing.

    All but the names stays byte for byte. What a kill leaves half done, the next call completes.
    """
    for old, new in COMMAND_STAGES.items():
        _rename(folder / "checkpoints" / old, folder / "checkpoints" / new)
    for old, new in SYSTEMS.items():
        _replace(folder / "eval" / f"{old}.json", SYSTEM, SYSTEMS)
        if _rename(folder / "eval" / f"{old}.json", folder / "eval" / f"{new}.json"):
            link_old_names(folder)
    _replace(folder / "eval" / "comparison.json", SYSTEM, SYSTEMS)
    _replace(folder / "timings.json", KEY, COMMAND_STAGES)
    for log in (folder, *folder.glob("ranks/*")):
        if _present_text(log / "metrics.jsonl", ROW, LOG_STAGES) is not None:
            _replace(log / "rollouts.jsonl", ROW, LOG_STAGES)  # large, and old only where the other one is
            _replace(log / "metrics.jsonl", ROW, LOG_STAGES)


def link_old_names(folder: Path) -> None:
    """Links under the old names of results, which scripts of earlier versions read."""
    for old, new in SYSTEMS.items():
        if (folder / "eval" / f"{new}.json").exists():
            link(folder / "eval" / f"{old}.json", f"{new}.json")


def _rename(old: Path, new: Path) -> bool:
    """Whether there was something to rename."""
    has_old_name = old.exists() and not new.exists()
    if has_old_name:
        os.replace(old, new)
    return has_old_name


def _replace(path: Path, before: str, names: Names) -> None:
    text = _present_text(path, before, names)
    if text is not None:
        atomic_write_text(path, text)


def _present_text(path: Path, before: str, names: Names) -> str | None:
    """The text of a file with the present names behind `before`; None where it holds no old one."""
    try:
        text = path.read_bytes().decode("utf-8") if path.is_file() else ""
    except UnicodeDecodeError:  # damaged; whoever needs the file says so
        return None
    pattern = rf'({before})"({"|".join(names)})(_dev|_tax)?"'
    present, count = re.subn(pattern, lambda found: f'{found[1]}"{names[found[2]]}{found[3] or ""}"', text)
    return present if count else None
