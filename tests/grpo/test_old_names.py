"""Settings by their old names: read wherever a setting can stand, said once, and equal to the new ones in folders
that earlier versions have left.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny_run import Write, arguments, quick
from tiny_study import PARTS, Children, points, write_study

from data.errors import InputError
from data.examples import Example
from eval import readme_table
from grpo import old_names
from grpo.config import Config, EngineConfig
from grpo.config_file import load_config
from grpo.old_names import ADDED, OLD_NAMES
from grpo.run import main
from grpo.runtime.bindings import Change
from grpo.runtime.run_folder import differences, flat
from grpo.stages.best_samples import header_of, steps_in
from grpo.study.__main__ import main as study_main
from grpo.study.config import load_study
from reward.distil.config import read_data_section
from tests.support.earlier_version import with_old_settings, write_old_settings

VALUES = {
    "rollout.fast_decode": "false",
    "train.packed_attention": "false",
    "train.share_prefix": "false",
    "train.gradient_checkpointing": "true",
    "sft.anchor": "0.7",
    "train.anchor": "0.3",
    "tax.anchor_texts": "5",
}


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    old_names.say_once.cache_clear()


def test_every_old_name_has_a_value_here_and_every_new_one_is_a_setting() -> None:
    assert VALUES.keys() == OLD_NAMES.keys()
    assert {*OLD_NAMES.values(), *ADDED} <= flat(asdict(Config())).keys()
    assert not OLD_NAMES.keys() & flat(asdict(Config())).keys()


@pytest.mark.parametrize("old", OLD_NAMES)
def test_a_file_and_the_command_line_may_say_the_old_name(
    old: str, written: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    new = OLD_NAMES[old]
    default = load_config(written(""))
    config = load_config(written(""), [f"{new}={VALUES[old]}"])
    assert config != default and capsys.readouterr().out == ""
    path = written(f"{old} = {VALUES[old]}\n")
    assert [load_config(path), load_config(path)] == [config, config]
    assert capsys.readouterr().out == f"{path}: {old} is now {new}\n"
    assert load_config(written(""), [f" {old} = {VALUES[old]}"]) == config
    section, name = old.split(".")
    assert load_config(written(""), [f"{section}={{{name}={VALUES[old]}}}"]) == config
    assert capsys.readouterr().out == f"command line: {old} is now {new}\n"


def test_a_setting_under_both_names_is_refused(written: Write) -> None:
    sentence = (
        "train.share_prefix is the old name of engine.share_prefix, and both are given; write the new one"
    )
    both = ["train.share_prefix=true", "engine.share_prefix=false"]
    with pytest.raises(InputError, match=rf"c\.toml: {sentence}"):
        load_config(written("\n".join(both)))
    for overrides in (both, both[::-1]):
        with pytest.raises(InputError, match=f"command line: {sentence}"):
            load_config(written(""), overrides)


@pytest.mark.parametrize("names", [("train.anchor", "anchor.train"), ("anchor.train", "train.anchor")])
def test_the_command_line_wins_over_the_file_by_either_name(names: tuple[str, str], written: Write) -> None:
    assert load_config(written(f"{names[0]} = 0.1\n"), [f"{names[1]}=0.2"]).anchor.train == 0.2


def test_a_bad_value_is_refused_by_the_new_name(written: Write) -> None:
    with pytest.raises(InputError, match=r"c\.toml: engine\.share_prefix = 3 is of type int"):
        load_config(written("[train]\nshare_prefix = 3\n"))
    with pytest.raises(InputError, match=r"c\.toml: engine is a section"):
        load_config(written("engine = 3\n[train]\nshare_prefix = true\n"))


def test_a_configuration_of_before_is_equal_and_a_changed_one_is_not() -> None:
    now = json.loads(json.dumps(asdict(Config())))
    before = with_old_settings(now)
    assert before["train"]["share_prefix"] is True and "engine" not in before
    assert differences(before, now) == []
    before["sft"]["anchor"] = 0.5
    assert differences(before, now)[0] == Change("anchor.sft", 0.5, 0.0)
    now["anchor"] |= {"sft": 0.5, "text": "other.txt"}
    assert differences(before, now)[0] == Change("anchor.text", "", "other.txt")


def test_samples_of_before_are_read(tmp_path: Path) -> None:
    examples = [Example("i", "s", "r", "o", "l", "bo", "zh")]
    before = header_of(Config(), "hash", examples)
    before["rollout.fast_decode"] = before.pop("engine.fast_decode")
    path = tmp_path / "f"
    path.write_text(json.dumps(before) + "\n")
    assert steps_in(path, header_of(Config(), "hash", examples)) == []
    other = header_of(Config(engine=EngineConfig(fast_decode=False)), "hash", examples)
    with pytest.raises(InputError, match=r"drawn with engine\.fast_decode = True, not False"):
        steps_in(path, other)


@pytest.mark.usefixtures("own_cache")
def test_a_run_folder_of_before_goes_on(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its warm start to evaluation and report; another value is refused by the new name."""

    def go(stages: str, *more: str) -> int:
        command = arguments(corpus, tiny_folder, tmp_path / "run")
        return main([*command, "--stages", stages, *quick(tiny_folder)[2:], *more])

    assert go("data,model,sft") == 0
    path = tmp_path / "run" / "config.json"
    write_old_settings(path)
    capsys.readouterr()
    assert go("grpo", "sft.anchor=0.5") == 2
    assert "made with anchor.sft = 0.0, not 0.5" in capsys.readouterr().err
    assert go("grpo") == 0
    assert json.loads(path.read_text())["engine"] == asdict(EngineConfig())
    write_old_settings(path)
    assert go("eval") == 0
    before = write_old_settings(path)
    assert go("report") == 0
    assert json.loads(path.read_text()) != before
    assert (tmp_path / "run" / "report.md").exists()


@pytest.mark.usefixtures("own_cache")
def test_a_study_of_before_goes_on(
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its files in old names, its folders and points too: nothing is made again, and a table says the new ones."""
    children = Children(monkeypatch)
    argv = write_study(tmp_path, corpus, tiny_folder)
    study = tmp_path / "study.toml"
    base = tmp_path / "tiny.toml"
    base.write_text(base.read_text().replace("[train]", "[train]\nshare_prefix = true"))
    text = study.read_text().replace(
        '["train.method=sft"]', '["train.method=sft", "train.packed_attention=true"]'
    )
    study.write_text(text.replace('"threads=1"', '"threads=1", "tax.anchor_texts=2"'))
    assert study_main([*argv, *PARTS]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said.count(f"{study}: train.packed_attention is now engine.packed_attention") == 1
    assert said.count(f"{base}: train.share_prefix is now engine.share_prefix") == 1
    assert len(children.names) == 5
    for path in (tmp_path / "study").rglob("config.json"):
        if path.parent.name.startswith("seed"):
            write_old_settings(path)
    for path in points(tmp_path).values():
        path.write_text(
            path.read_text()
            .replace("engine.packed", "train.packed")
            .replace("anchor.batch_size", "tax.anchor_texts")
        )
    assert study_main([*argv, *PARTS]) == 0
    assert children.names == []
    assert study_main([*argv, "--only", "report"]) == 0
    summary = json.loads((tmp_path / "study" / "summary.json").read_text(encoding="utf-8"))
    assert "SFT on the reference texts, engine.packed_attention=true |" in readme_table.table(summary)


@pytest.mark.parametrize("name", ["settings", "arms.sft.settings", "transfer.settings"])
def test_the_settings_of_a_study_may_say_old_names(
    name: str, corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (_, path) = write_study(tmp_path, corpus, tiny_folder)
    transfer = f'transfer={{config="{tmp_path}/tiny.toml"}}'
    study = load_study(path, [transfer, f'{name}=["train.anchor=0.5"]'])
    lists = {"settings": study.settings, "arms.sft.settings": study.arm("sft").settings}
    assert study.transfer is not None
    assert (lists | {"transfer.settings": study.transfer.settings})[name] == ("anchor.train=0.5",)


def test_the_warm_start_s_anchor_is_not_an_arm_s_by_either_name(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (_, path) = write_study(tmp_path, corpus, tiny_folder)
    for setting in ("sft.anchor=1.0", "anchor.sft=1.0"):
        with pytest.raises(InputError, match=r"arms\.sft\.settings: anchor\.sft: all arms share it"):
            load_study(path, [f'arms.sft.settings=["{setting}"]'])


def test_the_run_of_a_distillation_may_say_old_names(written: Write) -> None:
    text = "[data]\nseed = 3\n[sft]\nanchor = 1.0\n[train]\nshare_prefix = true\n"
    assert read_data_section(written(text)).seed == 3
