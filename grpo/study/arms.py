"""Trains the arms of a study as ordinary runs, each in a process of its own: memory is freed, and a kill costs one
arm its last steps.

What is finished is skipped, what was begun goes on. A lock in each run folder lets several commands work on
one study; a process that outlives a killed command still holds its own.
"""

import filecmp
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from data.cache import atomic_folder, atomic_write_text
from data.console import say
from data.errors import InputError, Interrupted
from eval.study.layout import snapshots_in
from grpo.config import Config
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_folder import check_config, study_lock
from grpo.stages.plan import known_model
from grpo.study.config import ArmConfig, Study

POLL = 0.1  # seconds between two looks at a child
TEAM = (
    "WORLD_SIZE",
    "RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
)  # what makes a process one of several
SAMPLES = "best_of_group.jsonl"


def run_child(command: Sequence[str], name: str, folder: Path, keep: Sequence[int] = ()) -> int:
    """`python -m *command`: its exit code, or minus the signal that ended it.

    The child looks for modules where this process does, so -P leaves out the working folder, which may have a
    `data` of its own. What it prints goes to the console behind `name`, and to log.txt in `folder`; file
    descriptors in `keep` stay open in it. Raises Interrupted when this process was asked to stop: it asks the
    child, which saves and ends first. Ctrl-C reaches only this process, as the child has a group of its own;
    a second one is passed on too. Where this process is one of several, the child is none of them, but uses the same card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop, open(folder / "log.txt", "a", encoding="utf-8") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", process_group=0, pass_fds=tuple(keep),
            env={name: value for name, value in os.environ.items() if name not in TEAM}
            | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )  # fmt: skip
        assert child.stdout is not None
        copier = threading.Thread(target=copy_lines, args=(child.stdout, name, log))
        copier.start()
        try:
            wait_for(child, stop)
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            child.wait()
            raise
        finally:
            copier.join()
            child.stdout.close()
    if stop():
        raise Interrupted(stop.signal)
    return child.returncode


def wait_for(child: subprocess.Popen[str], stop: StopRequest) -> None:
    """Until the child ends; the first request to stop is passed on to it."""
    passed_on = False
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL)
            return
        if stop.signal is not None and not passed_on:
            child.send_signal(stop.signal)
            passed_on = True


def copy_lines(lines: TextIO, name: str, log: TextIO) -> None:
    for line in lines:
        say(f"{name} | {line.rstrip()}")
        log.write(line)
        log.flush()


def train_warm_start(study: Study, seed: int, say: Callable[[str], None]) -> int:
    """The stages data, model and sft, which all arms of a seed share; exit code."""
    folder = study.warm_start_folder(seed)
    config = study.warm_start_config(seed)
    with study_lock(folder, say) as lock:
        if (folder / "warm_start").exists():
            check_config(config, folder)
            return 0
        command = [
            "grpo.run",
            "--config",
            study.config,
            "--stages",
            "data,model,sft",
            *study.warm_start_overrides(seed),
        ]
        return run_child(command, f"warm_start seed{seed}", folder, [lock])


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
        command = [
            "grpo.run",
            "--config",
            study.config,
            "--stages",
            "data,model,train",
            *study.arm_overrides(arm, seed),
        ]
        code = run_child(command, f"{arm.name} seed{seed}", folder, [lock])
        link_last_snapshot(folder)
        return code


def start_model(study: Study, arm: ArmConfig, seed: int) -> Path:
    """The model folder that an arm begins from. Raises InputError where it is not there."""
    if arm.start == "untouched":
        untouched = known_model(study.arm_config(arm, seed))
        if untouched is None:
            raise InputError(
                f'arms.{arm.name}: start = "untouched" needs model.policy to be the default one or a folder'
            )
        return untouched
    warm = study.warm_start_folder(seed) / "warm_start"
    model = warm if arm.start == "warm_start" else study.arm_folder(arm.start, seed) / "policy"
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
        finished = (
            (other.kind, other.start) == (arm.kind, arm.start)
            and (folder / "policy").exists()
            and (folder / SAMPLES).exists()
        )
        if finished and sampling_inputs(study.arm_config(other, seed)) == inputs:
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
