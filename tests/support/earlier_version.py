"""A run folder as versions up to 0.1 left it: they called the stage `train` by its method, and some settings by
other names.
"""

import json
from pathlib import Path
from typing import Any

from grpo.old_names import OLD_NAMES
from grpo.runtime.run_folder import flat

LOG_NAMES = {"grpo": "grpo", "sft": "strong_sft", "best_of_group": "best_of_group"}  # by train.method
SYSTEM_NAMES = {"trained": "grpo", "trained_best": "grpo_best"}


def with_old_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a run of the version before the new names wrote it into config.json."""
    old = {key: value for key, value in config.items() if key not in ("engine", "anchor")}
    settings = flat(config)
    for name, new in OLD_NAMES.items():
        section, key = name.split(".")
        old[section] = old[section] | {key: settings[new]}
    return old


def write_old_settings(path: Path) -> dict[str, Any]:
    """Give a config.json the old names; its content then."""
    old = with_old_settings(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(old), encoding="utf-8")
    return old


def give_old_names(run: Path, method: str) -> None:
    """Rename what the stage train and the evaluation of its model have left in a finished or stopped run."""
    if (run / "checkpoints" / "train").exists():
        (run / "checkpoints" / "train").rename(run / "checkpoints" / "grpo")
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        path = run / name
        rows = [_old_row(json.loads(line), method) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    timings = json.loads((run / "timings.json").read_text(encoding="utf-8"))
    timings["stages"] = {name.replace("train", "grpo"): took for name, took in timings["stages"].items()}
    (run / "timings.json").write_text(json.dumps(timings, indent=1), encoding="utf-8")
    for name, old in SYSTEM_NAMES.items():
        path = run / "eval" / f"{name}.json"
        if path.exists():
            path.with_name(f"{old}.json").unlink(missing_ok=True)  # a link of now
            _write(
                path.with_name(f"{old}.json"), json.loads(path.read_text(encoding="utf-8")) | {"system": old}
            )
            path.unlink()
    path = run / "eval" / "comparison.json"
    if path.exists():
        comparison = json.loads(path.read_text(encoding="utf-8"))
        for pair in comparison["pairs"]:
            pair |= {side: SYSTEM_NAMES.get(pair[side], pair[side]) for side in ("before", "after")}
        _write(path, comparison)


def _old_row(row: dict[str, Any], method: str) -> dict[str, Any]:
    return row | {"stage": row["stage"].replace("train", LOG_NAMES[method])}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
