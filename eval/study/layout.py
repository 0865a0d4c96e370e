"""Where everything lies in a study's folder: the one place that says so, for those who write and those who read.

warm_start/seedK/               the run folder of a seed's warm start
arms/ARM/seedK/                 the run folder of an arm: policy/ in it, and snapshots/step-N/
points/ARM/seedK/step-N.json    an evaluated checkpoint
sequence/RECIPE-STAGE-TASK-seedK.json    a model after some stages of a sequence, on one task
transfer/START-EXAMPLES-seedK.json, judge/*.json, study.json
"""

from pathlib import Path

SNAPSHOTS = "snapshots"  # in a run folder


def warm_start_run(study: Path, seed: int) -> Path:
    """The run folder whose warm_start/ every arm of the seed begins from."""
    return study / "warm_start" / f"seed{seed}"


def warm_start_model(study: Path, seed: int) -> Path:
    return warm_start_run(study, seed) / "warm_start"


def arm_run(study: Path, arm: str, seed: int) -> Path:
    """The run folder of one arm and seed."""
    return study / "arms" / arm / f"seed{seed}"


def arm_model(study: Path, arm: str, seed: int) -> Path:
    """What the arm has trained in the end."""
    return arm_run(study, arm, seed) / "policy"


def snapshot_folder(run: Path, step: int) -> Path:
    """The model of a run after `step` steps."""
    return run / SNAPSHOTS / f"step-{step:06d}"


def snapshots_in(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the snapshots of a run that are on disk, by step."""
    return sorted((int(path.name.removeprefix("step-")), path) for path in (run / SNAPSHOTS).glob("step-*"))


def point_file(study: Path, arm: str, seed: int, step: int) -> Path:
    """Where one evaluated checkpoint is written."""
    return study / "points" / arm / f"seed{seed}" / f"step-{step:06d}.json"


def point_files(study: Path, seed: int | None = None) -> list[Path]:
    """The evaluated checkpoints, of one seed or of all, in the order of their names."""
    return sorted((study / "points").glob(f"*/seed{'*' if seed is None else seed}/step-*.json"))


def transfer_file(study: Path, start: str, examples: int, seed: int) -> Path:
    """The result of one start that has learned another task from so many examples."""
    return study / "transfer" / f"{start}-{examples}-seed{seed}.json"


def sequence_file(study: Path, recipe: str, stage: int, task: str, seed: int) -> Path:
    """The result on a task of a recipe's model after so many stages of a sequence; stage 0 is the untouched model."""
    return study / "sequence" / f"{recipe}-{stage}-{task}-seed{seed}.json"
