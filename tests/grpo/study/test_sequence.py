"""A sequence of two tasks on the tiny model: each stage begins where the one before ended, and all are judged alike."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import Children, quick_task, two_tasks

from data.errors import InputError
from eval.study.sequence import sequence_figures
from grpo.study import sequence
from grpo.study.__main__ import main
from grpo.study.config import ArmConfig, SequenceConfig, Study, load_study
from grpo.study.cost import models_on_disk
from grpo.study.files import keep_files
from grpo.study.sequence import run_sequence

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def study(tmp_path: Path, corpus: Path, tiny_folder: Path) -> Study:
    """The second task is the same pairs turned round; one recipe is SFT, in both stages of it."""
    tasks = two_tasks(tmp_path, corpus, tiny_folder)
    # by default the second task, which writes Tibetan, is asked in English words
    settings = (*quick_task(tiny_folder), "prompt.template=plain")
    recipe = ("train.method=sft", "train.num_steps=2", "train.optim.lr=1e-2")
    return Study(
        str(tmp_path / "study"), tasks[0], arms=(ArmConfig("sft"),), settings=settings[:2],
        sequence=SequenceConfig(tasks, {"sft": recipe}, settings),
    )  # fmt: skip


def test_each_stage_goes_on_from_the_last_and_is_measured_on_all_tasks(
    study: Study, children: Children
) -> None:
    run_sequence(study, 0, print)
    assert children.names == ["sequence sft there seed0", "sequence sft back seed0"]
    folder = study.folder / "sequence"
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    models = [("untouched", 0), ("sft", 1), ("sft", 2)]
    assert set(found) == {
        f"{name}-{stage}-{task}-seed0" for name, stage in models for task in ("there", "back")
    }
    second = json.loads((folder / "sft" / "seed0" / "back" / "config.json").read_text(encoding="utf-8"))
    assert second["model"]["policy"] == str(folder / "sft" / "seed0" / "there" / "policy")
    languages = {one["task"]: one["target"]["target_language"] for one in found.values()}
    assert languages == {"there": "zh", "back": "bo"}
    for task in ("there", "back"):
        own = [one["target"] for one in found.values() if one["task"] == task]
        assert len({json.dumps(target["signatures"], sort_keys=True) for target in own}) == 1
    figures = sequence_figures(list(found.values()), "chrf", 50, 0)
    assert figures is not None and figures["tasks"] == ["there", "back"]
    row = figures["recipes"][0]
    chrf = {name: one["target"]["metrics"]["all"]["chrf"] for name, one in found.items()}
    assert row["backward"]["value"] == pytest.approx(chrf["sft-2-there-seed0"] - chrf["sft-1-there-seed0"])
    assert row["forward"]["value"] == pytest.approx(chrf["sft-1-back-seed0"] - chrf["untouched-0-back-seed0"])

    (folder / "sft-2-back-seed0.json").unlink()
    run_sequence(study, 0, print)
    assert children.names == [] and (folder / "sft-2-back-seed0.json").exists()


def test_each_task_is_measured_within_the_limits_of_its_own_corpus(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: all tasks had the limits of the first one, so longer test items of the others were left out."""
    assert study.sequence is not None
    monkeypatch.setattr(sequence, "train_stage", lambda *_: 1)
    short_first = replace(
        study.sequence,
        configs=study.sequence.configs[::-1],
        settings=(*study.sequence.settings, "model.max_prompt_tokens=0", "eval.max_new_tokens=0"),
    )
    with pytest.raises(InputError, match="failed"):
        run_sequence(replace(study, sequence=short_first), 0, print)
    folder = study.folder / "sequence"
    for task in ("there", "back"):
        result = json.loads((folder / f"untouched-0-{task}-seed0.json").read_text(encoding="utf-8"))
        assert len(result["target"]["items"]) == 12
    limits = [
        json.loads((folder / "untouched" / "seed0" / "untouched" / task / "corpus.json").read_text())[
            "limits"
        ]
        for task in ("back", "there")
    ]
    assert limits[0]["model.max_prompt_tokens"] < limits[1]["model.max_prompt_tokens"]
    assert limits[0]["eval.max_new_tokens"] > limits[1]["eval.max_new_tokens"]


def test_a_recipe_that_fails_is_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "run_child", lambda *_: 1)
    monkeypatch.setattr(sequence, "measure_stage", lambda *_: None)
    with pytest.raises(InputError, match=r"sequence: sft, seed 0 \(see .*sft/seed0/there/log\.txt\) failed"):
        run_sequence(study, 0, print)


def test_the_files_of_the_tasks_are_copied_under_their_names(study: Study, tmp_path: Path) -> None:
    assert study.sequence is not None
    tasks = json.dumps(study.sequence.configs)
    file = tmp_path / "study.toml"
    file.write_text(
        f'study_dir = "{study.folder}"\nconfig = "{study.config}"\n[arms.sft]\n[sequence]\nconfigs = {tasks}\n'
        'settings = ["prompt.template=plain"]\n[sequence.recipes]\nsft = ["train.method=sft"]\n',
        encoding="utf-8",
    )
    command = keep_files(load_study(file), str(file), [])
    again = load_study(command[1], command[2:])
    assert again.sequence is not None and again.sequence.tasks == ("there", "back")
    assert {Path(one).parent for one in again.sequence.configs} == {study.folder / "sequence"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sequence.configs=['{there}']", "two files or more of different names"),
        ("sequence.recipes={{}}", "sequence.recipes: at least one"),
        ("sequence.recipes={{untouched=[]}}", "sequence.recipes: untouched: use a-z"),
    ],
)
def test_what_is_no_sequence_is_refused(study: Study, tmp_path: Path, change: str, message: str) -> None:
    assert study.sequence is not None
    file = tmp_path / "study.toml"
    file.write_text(f'config = "{study.config}"\n[arms.sft]\n', encoding="utf-8")
    whole = [f"sequence.configs={json.dumps(study.sequence.configs)}", "sequence.recipes={sft=[]}"]
    with pytest.raises(
        InputError, match=r"there\.toml has prompt\.template = 'plain' and \S+back\.toml 'english'"
    ):
        load_study(file, whole)
    in_english = 'sequence.settings=["prompt.template=english"]'
    own = replace(study.sequence, recipes={"sft": ()}, settings=("prompt.template=english",))
    assert load_study(file, [*whole, in_english]).sequence == own
    with pytest.raises(InputError, match=message):
        load_study(file, [*whole, change.format(there=tmp_path / "there.toml")])


def sequence_alone(study: Study, file: Path, more: str = "") -> Path:
    """The file of a study of this sequence without arms and without a configuration of its own."""
    assert study.sequence is not None
    settings = json.dumps(study.sequence.settings)
    tasks = json.dumps(study.sequence.configs)
    file.write_text(
        f'study_dir = "{study.folder}"\n{more}[sequence]\nconfigs = {tasks}\nsettings = {settings}\n[sequence.recipes]\n'
        'sft = ["train.method=sft", "train.num_steps=1"]\n',
        encoding="utf-8",
    )
    return file


def test_a_sequence_needs_no_arms(
    study: Study, tmp_path: Path, children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: a study of a sequence alone was refused: it had to train an arm."""
    file = sequence_alone(study, tmp_path / "alone.toml")
    assert load_study(file).config == str(tmp_path / "there.toml")
    command = ["--config", str(file)]
    assert main([*command, "--check"]) == 0
    bill = capsys.readouterr().out
    assert re.search(r"bill: about .* on this machine \(sequence [^+]*\), ", bill) and "arms: " not in bill
    assert main(command) == 0
    assert children.names == ["sequence sft there seed0", "sequence sft back seed0"]
    assert not (study.folder / "arms").exists() and not (study.folder / "warm_start").exists()
    report = (study.folder / "report.md").read_text(encoding="utf-8")
    assert "### Tasks one after the other" in report and "| back | 12 |" in report
    assert main(command) == 0 and children.names == []


def test_a_study_without_arms_and_sequence_is_refused(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    file.write_text("seeds = [0]\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a study needs arms; write \[arms\.grpo\] .*, or a \[sequence\] alone"
    ):
        load_study(file)
    with pytest.raises(InputError, match=r"recommended = 'grpo': no arm of this study; its arms are none"):
        load_study(sequence_alone(study, file, 'recommended = "grpo"\n'))
    alone = sequence_alone(study, file)
    alone.write_text(alone.read_text(encoding="utf-8") + "[transfer]\n", encoding="utf-8")
    with pytest.raises(InputError, match="a study needs arms"):
        load_study(alone)


def test_the_models_of_a_sequence_count_on_disk(study: Study) -> None:
    """Past bug: the bill of a study left them out. 2 tasks by one recipe leave a warm start and a policy each."""
    base = study.warm_start_config(0)
    alone = replace(study, arms=())
    own = models_on_disk(alone, (), 3, base) - models_on_disk(replace(alone, sequence=None), (), 3, base)
    assert own == 3 * 2 * 2
