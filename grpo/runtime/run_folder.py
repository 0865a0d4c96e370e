"""A run folder and who may work in it: its lock, the configuration and the inputs it was made from, and the
time each stage took.

A folder that holds work belongs to the settings of the stages that it has begun (grpo/runtime/bindings.py) and to
one set of inputs. A start that differs is refused, because it would mix two runs in silence: a changed corpus has
another split, so that what was trained on becomes a test item.
"""

import json
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data.cache import atomic_write_text
from data.checksums import sha256_of
from data.console import silent
from data.documents import read_object
from data.errors import InputError
from data.system import lock, read_at, write_at
from grpo.config import Config
from grpo.engine.private_apis import has_onednn_product
from grpo.old_names import ADDED, current_keys
from grpo.runtime.bindings import RESULTS, Change, Progress, progress_of, refused_changes, stages_of

WORK = (  # what must not be mixed from two runs
    "checkpoints", "warm_start", "policy_best", "policy", "snapshots", "eval",
)  # fmt: skip
CONFIG = "config.json"
CORPUS = "corpus.json"
INPUTS = "inputs.json"
MEASURED = ("reward*.json", "tax.json")  # for the stage train, at its first start
LOCK = "run.lock"
# settings that say nothing of what a run is: a folder may be moved and its path spelled in many ways
NO_CONTENT = ("run_dir", "parallel.patience", "log.to")
ANOTHER = "run_dir=runs/another for a new run"
REMEDY = "restore it to go on with this run, or write run_dir=runs/another for a new one"


@contextmanager
def sole_process(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep the run folder for this process alone. Raises InputError where another process works in it.

    On a file system without locks it only says so.
    """
    check_place(folder)
    with open_lock(folder / LOCK) as descriptor:
        try:
            lock(descriptor)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                say(
                    f"{folder}: this file system has no locks ({error.strerror}); start no second process here"
                )
                yield
                return
            owner = read_at(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise InputError(
                f"{folder}: {owner} works in this run folder now; wait for its end, or write run_dir=runs/another"
            ) from None
        os.ftruncate(descriptor, 0)
        write_at(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield


def check_place(folder: Path) -> None:
    """Raises InputError where `run_dir` is a file or a link to nothing, or nothing can be written there."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(
            f"run_dir = {folder} is a link to {folder.readlink()}, which is not there; make that folder"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"run_dir = {folder} is a file; name a folder")
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with TemporaryDirectory(dir=place, prefix=".semantic-grpo-"):
            pass
    except OSError as error:
        raise InputError(
            f"run_dir = {folder}: nothing can be written into {place} ({error.strerror}); "
            "write run_dir=PATH with a folder that can be written"
        ) from error


@contextmanager
def study_lock(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Keep a run folder for one command of a study, which waits while another has it. Yields the lock's
    descriptor, which a child may hold too.
    """
    with open_lock(folder / "lock") as descriptor:
        try:
            lock(descriptor)
        except BlockingIOError:
            say(f"{folder}: another process is at work here; waiting for it")
            lock(descriptor, wait=True)
        yield descriptor


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    """Yields a descriptor of a lock file, which is made where it is missing. The lock ends when its last
    holder closes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def holds_work(folder: Path) -> bool:
    """Whether the folder has anything that was trained or evaluated."""
    return any((folder / name).exists() for name in WORK)


def policy_in(path: Path) -> Path:
    """The model folder that a path stands for: itself, or of a run folder the best policy, else the policy. Raises
    InputError.
    """
    for folder in (path / "policy_best", path / "policy"):
        if (folder / CONFIG).is_file():
            return folder
    if not (path / CONFIG).is_file() and not (path / "warm_start").is_dir():
        raise InputError(
            f"{path}: no model there; give the folder of a finished run, or one with config.json and *.safetensors"
        )
    if not (path / CONFIG).is_file() or "model_type" not in read_object(path / CONFIG):
        raise InputError(f"{path}: this run has no policy yet; let it finish, or give {path / 'warm_start'}")
    return path


def run_of(folder: Path) -> Path | None:
    """The run folder that a model folder lies in; None for one that lies elsewhere."""
    places = list(folder.resolve().parents)[:2]  # policy/, and snapshots/step-N/
    return next((place for place in places if is_run(place)), None)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: its config.json is no model's."""
    path = folder / CONFIG
    return path.is_file() and "run_dir" in read_object(path)


def corpus_facts(folder: Path) -> dict[str, Any]:
    """What corpus.json of a run folder says so far; empty before the data stage."""
    path = folder / CORPUS
    return read_object(path) if path.exists() else {}


def settings_in(folder: Path | None) -> dict[str, Any]:
    """section.key -> value of the run in a folder, also of an earlier version; without a folder the defaults."""
    own = current_keys(flat(read_object(folder / CONFIG))) if folder else {}
    return flat(plain(Config())) | (ADDED if folder else {}) | own


def claim_folder(config: Config, folder: Path, say: Callable[[str], None] = silent) -> None:
    """Make the folder that of `config`. Raises InputError where a stage that it has begun was shaped by another value
    of a setting.
    """
    check_settings(config, folder)
    changes = changes_of(config, folder)
    progress = progress_of(folder)
    if changes:
        forget(changes, config, folder)
    open_stages = " and ".join(sorted(progress.open_stages))
    for change in changes if open_stages else ():
        if change.may_round:
            say(
                f"{change.key} = {change.new!r}, before {change.old!r}: {open_stages} goes on; its numbers may differ by rounding"
            )
    write_config(config, folder)


def check_settings(config: Config, folder: Path) -> None:
    """Raises InputError where a stage that the folder has begun was shaped by another value of a setting."""
    progress = progress_of(folder)
    for change, stage in refused_changes(changes_of(config, folder), config, progress):
        raise InputError(binding_sentence(change, stage, folder, progress))


def binding_sentence(change: Change, stage: str, folder: Path, progress: Progress) -> str:
    """Why a changed setting is refused, and what to do."""
    cures = [f"restore that value to go on with it, or write {ANOTHER}"]
    if stage == "eval" and "train" not in progress.open_stages:
        cures.append(f"or remove {folder / 'eval'} to have this stage done again")
    if change.key == f"{stage}.num_steps" and stage not in progress.open_stages:
        cures.append(f"with model.policy={folder / RESULTS[stage][0]} to train on from here")
    elif change.key == f"{stage}.num_steps":
        cures.append(
            f"as only more steps at {stage}.optim.schedule = 'constant' leave the steps before as they are"
        )
    return (
        f"{folder / CONFIG}: {stage} of this run was made with {change.key} = {change.old!r}, not {change.new!r}; "
        + ", ".join(cures)
    )


def check_config(config: Config, folder: Path) -> None:
    """Raises InputError where the folder holds work and any setting differs. For a study, which compares runs and so
    binds all of them.
    """
    changes = changes_of(config, folder)
    if changes and holds_work(folder):
        first = changes[0]
        raise InputError(
            f"{folder / CONFIG}: this run was made with {first.key} = {first.old!r}, not {first.new!r}; "
            f"restore that value to go on with it, or write {ANOTHER}"
        )


def changes_of(config: Config, folder: Path) -> list[Change]:
    """The settings in which `config` differs from config.json; none where there is no file."""
    path = folder / CONFIG
    return differences(read_object(path), plain(config), NO_CONTENT) if path.exists() else []


def forget(changes: Sequence[Change], config: Config, folder: Path) -> None:
    """Remove what is recorded of other values of these settings, under which no stage has begun."""
    shaping = [change.key for change in changes if stages_of(change.key, config)]
    if not shaping:
        return
    if not holds_work(folder):
        for name in (CORPUS, INPUTS):
            (folder / name).unlink(missing_ok=True)
    edit(folder / CORPUS, lambda facts: {name: facts[name] for name in facts if name == "manifest"})
    edit(folder / INPUTS, lambda facts: {name: facts[name] for name in facts if name not in shaping})
    if "train" not in progress_of(folder).begun_stages:
        for path in (path for pattern in MEASURED for path in folder.glob(pattern)):
            path.unlink()


def edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Write what `change` makes of the object in a JSON file; nothing where there is none."""
    if path.exists():
        atomic_write_text(path, json.dumps(change(read_object(path)), ensure_ascii=False, indent=1))


def write_config(config: Config, folder: Path) -> None:
    """Write config.json."""
    atomic_write_text(folder / CONFIG, json.dumps(plain(config), ensure_ascii=False, indent=1))


def plain(config: Config) -> dict[str, Any]:
    """A configuration as JSON gives it back."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values


def differences(old: dict[str, Any], new: dict[str, Any], ignored: Sequence[str] = ()) -> list[Change]:
    """The settings in which two configurations differ; `old` may be of an earlier version."""
    before = ADDED | current_keys(flat(old))
    after = flat(new)
    names = (key for key in {**after, **before} if key not in ignored)
    changes = (Change(key, before.get(key), after.get(key)) for key in names)
    return [change for change in changes if change.old != change.new]


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionary -> {"section.key": value}."""
    result: dict[str, object] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def check_files(
    folder: Path,
    setting: str,
    files: Mapping[str, Path],
    *,
    is_run: bool = True,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Record in inputs.json the hashes of the files that `setting` names; without `is_run` only compare. One is read
    again only where its size or time differs.

    Where the folder holds work and one of them has changed since, come or gone: calls `warn`, or raises
    InputError.
    """
    path = folder / INPUTS
    facts = read_object(path) if path.exists() else {}
    before = facts.get(setting)
    facts_before: dict[str, Any] = before if isinstance(before, dict) else {}
    if not (is_run or facts_before):
        return
    now = {name: _file_facts(file, facts_before.get(name)) for name, file in files.items()}
    names = [
        name for name in {**facts_before, **now} if _hash(facts_before.get(name)) != _hash(now.get(name))
    ]
    if facts_before and names and holds_work(folder):
        sentence = f"{setting}: {names[0]} has changed since this run began ({path})"
        if warn is None:
            raise InputError(f"{sentence}; {REMEDY}")
        warn(f"WARNING: {sentence}; what follows may not compare with what came before")
    if is_run and now != facts_before:
        atomic_write_text(path, json.dumps(facts | {setting: now}, indent=1))


def _hash(facts: Any) -> str | None:
    return facts.get("sha256") if isinstance(facts, dict) else None


def _file_facts(path: Path, known: Any) -> dict[str, Any]:
    """Size, time and SHA-256 of a file; the hash is taken from `known` where size and time are the same."""
    status = path.stat()
    stamp = {"bytes": status.st_size, "time": status.st_mtime_ns}
    same = isinstance(known, dict) and {key: known.get(key) for key in stamp} == stamp
    return {**stamp, "sha256": known["sha256"] if same and "sha256" in known else sha256_of(path)}


PACKAGES = ("torch", "transformers", "numpy", "sentencepiece", "faiss-cpu", "sacrebleu")


def commit() -> str:
    """The commit of the checkout this runs from, marked when files differ from it; empty for an installed package
    and where there is no git.
    """
    root = Path(__file__).resolve().parent.parent.parent
    # an environment may lie in somebody else's repository
    if not ((root / ".git").exists() and shutil.which("git")):
        return ""
    answer = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip()


def version_of(package: str) -> str:
    """The version of a package; empty where it is not installed, as some are for certain terms of the reward only."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def environment(facts: dict[str, object]) -> dict[str, object]:
    """What a run ran on: commit, system, packages, `facts` of the device, and whether the sampler has oneDNN's
    product (grpo/engine/private_apis.py).
    """
    packages = {name: version_of(name) for name in PACKAGES}
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        **facts,
        "onednn_product": has_onednn_product(),
        "packages": packages,
    }
