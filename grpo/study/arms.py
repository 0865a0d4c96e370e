"""Trains the arms of a study as ordinary runs, each in a process of its own: memory is freed, and a kill costs one
arm its last steps.

What is finished is skipped, what was begun goes on. A lock in each run folder lets several commands work on
one study; a process that outlives a killed command still holds its own.
"""

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from data.cache import atomic_folder, atomic_write_text
from data.errors import InputError
from eval.study.layout import snapshots_in
from grpo.config import Config
from grpo.runtime.run_folder import check_config, study_lock
from grpo.study.children import Job, run_child, run_children
from grpo.study.config import ArmConfig, Study

SAMPLES = "best_of_group.jsonl"


def train_warm_starts(
    study: Study, seeds: Sequence[int], at_most: int, say: Callable[[str], None]
) -> list[int]:
    """The stages data, model and sft, which all arms of a seed share, at most so many at a time: the exit code of each,
    0 where it was finished.
    """
    with ExitStack() as stack:
        locks = {seed: stack.enter_context(study_lock(study.warm_start_folder(seed), say)) for seed in seeds}
        missing = [seed for seed in seeds if not has_warm_start(study, seed)]
        codes = run_children([warm_start_job(study, seed, locks[seed]) for seed in missing], at_most)
    code_of = dict(zip(missing, codes, strict=True))
    return [code_of.get(seed, 0) for seed in seeds]


def has_warm_start(study: Study, seed: int) -> bool:
    """Whether a seed's warm start is finished. Raises InputError where another configuration has made it."""
    folder = study.warm_start_folder(seed)
    if not (folder / "warm_start").exists():
        return False
    check_config(study.warm_start_config(seed), folder)
    return True


def warm_start_job(study: Study, seed: int, lock: int) -> Job:
    overrides = study.warm_start_overrides(seed)
    command = ["grpo.run", "--config", study.config, "--stages", "data,model,sft", *overrides]
    return Job(command, f"warm_start seed{seed}", study.warm_start_folder(seed), [lock])


def train_arm(study: Study, arm: ArmConfig, seed: int, say: Callable[[str], None]) -> int:
    """One arm from the seed's warm start to policy/ and snapshots/; exit code."""
    folder = study.arm_folder(arm.name, seed)
    config = study.arm_config(arm, seed)
    with study_lock(folder, say) as lock:
        if (folder / "policy").exists():
            check_config(config, folder)
            return 0
        share_start(study, arm, seed)
        share_samples(study, arm, seed)
        overrides = study.arm_overrides(arm, seed)
        command = ["grpo.run", "--config", study.config, "--stages", "data,model,train", *overrides]
        code = run_child(Job(command, f"{arm.name} seed{seed}", folder, [lock]))
        link_last_snapshot(folder)
        return code


def start_model(study: Study, arm: ArmConfig, seed: int) -> Path:
    """The model folder that an arm begins from. Raises InputError where it is not there."""
    if arm.start == "untouched":
        from grpo.stages.plan import known_model  # it imports transformers

        untouched = known_model(study.arm_config(arm, seed))
        if untouched is None:
            raise InputError(
                f'arms.{arm.name}: start = "untouched" needs model.policy to be the default one or a folder'
            )
        return untouched
    model = study.model_of(arm.start, seed)
    if not model.exists():
        raise InputError(
            f"{model}: arms.{arm.name} begins from this model, which is not there yet; run the study with --only train first"
        )
    return model


def share_start(study: Study, arm: ArmConfig, seed: int) -> None:
    """What the arm begins from as warm_start/ of its run, files linked: it is on disk once, and the same in
    every arm that begins there.
    """
    source = study.warm_start_folder(seed)
    folder = study.arm_folder(arm.name, seed)
    model = start_model(study, arm, seed)
    if not (folder / "warm_start").exists():
        with atomic_folder(folder / "warm_start") as work:
            shutil.copytree(model, work, copy_function=link_or_copy, dirs_exist_ok=True)
    if not (folder / "corpus.json").exists():
        atomic_write_text(folder / "corpus.json", (source / "corpus.json").read_text(encoding="utf-8"))


def link_or_copy(source: str, target: str) -> str:
    """A hard link, or a copy on a disk that has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def link_last_snapshot(folder: Path) -> None:
    """The last snapshot's weights, where policy/ has the same, are on disk once."""
    last = snapshots_in(folder)[-1:]
    for file in (file for _, snapshot in last for file in snapshot.glob("*.safetensors")):
        same = folder / "policy" / file.name
        link = file.with_name(f"{file.name}.link")
        if same.exists() and not same.samefile(file) and filecmp.cmp(same, file, shallow=False):
            link.unlink(missing_ok=True)
            link_or_copy(str(same), str(link))
            os.replace(link, file)


def share_samples(study: Study, arm: ArmConfig, seed: int) -> None:
    """What another arm of the seed has drawn from the warm start and chosen, where this arm would draw and
    choose the very same.
    """
    target = study.arm_folder(arm.name, seed) / SAMPLES
    config = study.arm_config(arm, seed)
    inputs = sampling_inputs(config)
    if arm.kind != "best_of_group" or config.train.refresh_every or target.exists():
        return
    for other in study.arms:
        folder = study.arm_folder(other.name, seed)
        is_finished = (
            (other.kind, other.start) == (arm.kind, arm.start)
            and (folder / "policy").exists()
            and (folder / SAMPLES).exists()
        )
        if is_finished and sampling_inputs(study.arm_config(other, seed)) == inputs:
            atomic_write_text(target, (folder / SAMPLES).read_text(encoding="utf-8"))
            return


def sampling_inputs(config: Config) -> tuple[object, ...]:
    """All that the samples of "best_of_group" depend on, but for the model they are drawn from."""
    return (
        config.seed,
        config.data,
        config.model,
        config.rollout,
        config.engine.fast_decode,
        config.reward,
        config.advantage,
        config.train.num_steps,
        config.train.refresh_every,
    )
