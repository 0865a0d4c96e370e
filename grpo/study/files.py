"""Copies a study's configuration files beside its results, so that editing the originals changes no later arm.

Children read the copies. A later command on the same study compares: another base configuration is refused, as
its arms could not be compared with the earlier ones. Arms and seeds may be
added, so each study file has a copy of its own.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from data.cache import atomic_write_text
from data.documents import config_path
from data.errors import InputError
from eval.study.roles import STUDY_SETTINGS
from grpo.config_file import load_config
from grpo.runtime.run_folder import differences
from grpo.study.config import Study, override


def base_files(study: Study) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(name of the copy, key of the study that names the file, the file, the settings that apply to it); the files of a
    sequence have one key together, and here none.
    """
    files = [("base.toml", "config", study.config, study.settings)]
    if study.transfer is not None:
        files.append(("transfer.toml", "transfer.config", study.transfer.config, study.transfer.settings))
    if study.sequence is not None:
        settings = study.sequence.settings
        files += [(f"sequence/{Path(one).name}", "", one, settings) for one in study.sequence.configs]
    return files


def check_base(study: Study) -> None:
    """Raises InputError where a base configuration is not the one that the study began with; names the first
    key that differs.
    """
    for name, _, source, settings in base_files(study):
        copy = study.folder / name
        if not copy.exists():
            continue
        before, now = (asdict(load_config(path, settings)) for path in (copy, source))
        for change in differences(before, now, STUDY_SETTINGS):
            raise InputError(
                f"{source}: {change.key} = {change.new!r}, but this study began with {change.old!r} ({copy}); "
                "restore that value to go on with it, or write study_dir=runs/another for a new study"
            )


def keep_files(study: Study, file: str, overrides: Sequence[str]) -> list[str]:
    """Copy `file`, which gave the study, and its base configurations into the study's folder, and write
    study.json.

    Returns the arguments by which `grpo.study` and its children read the copies.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    text = read_text(file)
    copy = study.folder / f"study-{sha256(text.encode()).hexdigest()[:12]}.toml"
    keep(copy, text)
    atomic_write_text(study.folder / "study.json", json.dumps(asdict(study), ensure_ascii=False, indent=1))
    changes = []
    for name, key, source, _ in base_files(study):
        keep(study.folder / name, read_text(source))
        changes += [override(key, study.folder / name)] if key else []
    if study.sequence is not None:
        copies = [str(study.folder / "sequence" / Path(one).name) for one in study.sequence.configs]
        changes.append(f"sequence.configs={json.dumps(copies, ensure_ascii=False)}")
    return ["--config", str(copy), *overrides, *changes]


def keep(copy: Path, text: str) -> None:
    """Write a copy once, for reading only."""
    if not copy.exists():
        atomic_write_text(copy, text)
        copy.chmod(0o444)


def read_text(file: str) -> str:
    """The text of a TOML file that has been read before."""
    return config_path(Path(file)).read_text(encoding="utf-8-sig")
