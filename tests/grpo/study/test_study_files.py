"""A study works from copies of its files: an edit on the way changes no arm, and another base is refused."""

import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_study import PANEL, write_study

from data.errors import InputError
from grpo.config import Config
from grpo.config_file import load_config
from grpo.run import arguments
from grpo.runtime.run_folder import claim_folder
from grpo.study.__main__ import main
from grpo.study.arms import has_warm_start
from grpo.study.children import Job
from grpo.study.config import Study, load_study
from grpo.study.files import check_base, keep_files

pytestmark = pytest.mark.usefixtures("own_cache")
CLIP = "loss.clip_low"


@dataclass
class Reader:
    """In place of processes: reads what each child would read, then edits the user's files under the running
    study.
    """

    base: Path
    file: Path
    configs: dict[str, Config] = field(default_factory=dict)
    studies: list[Study] = field(default_factory=list)

    def __call__(self, job: Job) -> Any:
        module, *argv = job.command
        options = arguments(argv) if module == "grpo.run" else None
        if options is not None:
            self.configs[job.name] = load_config(options.config, options.overrides)
        else:
            self.studies.append(load_study(argv[1], argv[2 : argv.index("--arms")]))
        if job.name.startswith("warm_start"):
            (job.folder / "warm_start").mkdir(parents=True)
            (job.folder / "corpus.json").write_text("{}", encoding="utf-8")
        edit(self.base, CLIP, "0.4")
        self.file.write_text(
            self.file.read_text(encoding="utf-8").replace("threads=1", "threads=2"), encoding="utf-8"
        )
        return SimpleNamespace(process=SimpleNamespace(poll=lambda: 0), close=lambda: 0)


def edit(file: Path, key: str, value: str) -> None:
    """Add a setting to a TOML file, once."""
    section, _, name = key.rpartition(".")
    text = file.read_text(encoding="utf-8")
    line = f"{name} = {value}"
    if line not in text:
        heading = f"[{section}]\n"
        new = text.replace(heading, f"{heading}{line}\n") if heading in text else f"{text}\n{heading}{line}\n"
        file.write_text(new, encoding="utf-8")


@pytest.fixture
def argv(corpus: Path, tiny_folder: Path, tmp_path: Path) -> list[str]:
    return write_study(tmp_path, corpus, tiny_folder)


@pytest.fixture
def reader(argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader(tmp_path / "tiny.toml", tmp_path / "study.toml")
    monkeypatch.setattr("grpo.study.children.Child", reader)
    monkeypatch.setattr("eval.forgetting.tax.load_tax_panel", lambda cache, extended: PANEL)
    return reader


def test_an_edit_during_a_study_changes_no_later_arm_and_no_point(
    argv: list[str], reader: Reader, tmp_path: Path
) -> None:
    """Past bug: each arm read the base again, so that one edited on the way gave later arms other settings
    without a word.
    """
    assert main([*argv, "--only", "train,evaluate"]) == 0
    assert list(reader.configs) == ["warm_start seed0", "grpo seed0", "sft seed0"]
    assert {config.loss.clip_low for config in reader.configs.values()} == {0.2}
    assert load_config(tmp_path / "tiny.toml").loss.clip_low == 0.4  # it was edited indeed
    assert len(reader.studies) == 2
    for study in reader.studies:
        config = study.warm_start_config(0)
        assert (config.threads, config.loss.clip_low, study.folder) == (1, 0.2, tmp_path / "study")


def test_a_later_command_with_another_base_is_refused(
    argv: list[str], reader: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--only", "train"]) == 0
    seen = len(reader.configs)
    for more in ([], ["--check"], ["--only", "evaluate"]):
        assert main([*argv, *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith(
            f"error: {tmp_path}/tiny.toml: {CLIP} = 0.4, but this study began with 0.2 ({tmp_path}/study/base.toml); "
        )
        assert said.count("\n") == 1
    assert len(reader.configs) == seen


def test_copies_are_the_files_as_they_were_and_not_for_writing(argv: list[str], tmp_path: Path) -> None:
    study = load_study(argv[1])
    texts = {name: (tmp_path / name).read_text(encoding="utf-8") for name in ("tiny.toml", "study.toml")}
    option, copy, *more = keep_files(study, argv[1], [])
    assert option == "--config" and Path(copy).read_text(encoding="utf-8") == texts["study.toml"]
    base = study.folder / "base.toml"
    assert (
        base.read_text(encoding="utf-8") == texts["tiny.toml"] and stat.S_IMODE(base.stat().st_mode) == 0o444
    )
    again = load_study(copy, more)
    assert again.config == str(base) and again.arms == study.arms
    assert again.arm_config(again.arm("sft"), 0) == study.arm_config(study.arm("sft"), 0)


def test_what_says_the_same_and_what_adds_an_arm_is_not_refused(argv: list[str], tmp_path: Path) -> None:
    first = keep_files(load_study(argv[1]), argv[1], [])
    edit(tmp_path / "tiny.toml", CLIP, "0.2  # the default")
    edit(tmp_path / "tiny.toml", "checkpoint.snapshots", "9")  # the study itself sets it
    with (tmp_path / "study.toml").open("a", encoding="utf-8") as file:
        file.write('[arms.more]\nsettings = ["loss.kl_coef=0.1"]\n')
    study = load_study(argv[1])
    check_base(study)
    second = keep_files(study, argv[1], [])
    assert [[arm.name for arm in load_study(copy, more).arms] for _, copy, *more in (first, second)] == [
        ["grpo", "sft"], ["grpo", "sft", "more"],
    ]  # fmt: skip


def test_another_base_of_the_transfer_is_refused(argv: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text((tmp_path / "tiny.toml").read_text(encoding="utf-8"), encoding="utf-8")
    overrides = [f'transfer={{config="{other}"}}']
    arguments = keep_files(load_study(argv[1], overrides), argv[1], overrides)
    edit(other, CLIP, "0.3")
    kept = load_study(arguments[1], arguments[2:])
    assert kept.transfer is not None and load_config(kept.transfer.config).loss.clip_low == 0.2
    with pytest.raises(
        InputError,
        match=r"other\.toml: loss\.clip_low = 0\.3, but this study began with 0\.2 \(.*/transfer\.toml\)",
    ):
        check_base(load_study(argv[1], overrides))


def test_points_are_not_measured_by_other_settings_than_the_warm_start_was_made_with(argv: list[str]) -> None:
    """Past bug: with --only evaluate, settings that had changed gave points that compare with nothing."""
    study = load_study(argv[1])
    folder = study.warm_start_folder(0)
    (folder / "warm_start").mkdir(parents=True)
    claim_folder(study.warm_start_config(0), folder)
    assert has_warm_start(study, 0)
    settings = [*study.settings, "eval.max_new_tokens=7"]
    with pytest.raises(InputError, match=r"this run was made with eval\.max_new_tokens = \d+, not 7"):
        has_warm_start(load_study(argv[1], [f"settings={settings}"]), 0)
