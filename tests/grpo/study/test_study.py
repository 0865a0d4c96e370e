"""A whole study on the tiny model: points, what is skipped, what goes on, who failed."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from earlier_version import give_old_names
from tiny_study import PARTS, Children, points, write_study

from data.errors import Interrupted
from data.obtain import UnobtainableError
from grpo.engine.model import load_policy, parameter_hash
from grpo.stages.hooks import UpdateHook
from grpo.study.__main__ import main

pytestmark = pytest.mark.usefixtures("own_cache")
ARMS = ["grpo-2", "grpo-4", "sft-2", "sft-4"]


@dataclass
class Whole:
    """A study that ran undisturbed: its folder, its command, which children it had."""

    folder: Path
    argv: list[str]
    children: list[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tiny_folder: Path) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    argv = write_study(folder, corpus, tiny_folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        children = Children(patched)
        assert main([*argv, *PARTS]) == 0
    return Whole(folder, argv, children.names)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_checkpoint_has_its_point(whole: Whole) -> None:
    found = points(whole.folder)
    assert sorted(found) == [*ARMS, "untouched-0", "warm_start-0"]
    assert whole.children == ["warm_start seed0", "grpo seed0", "points seed0", "sft seed0", "points seed0"]
    documents = {name: read(path) for name, path in found.items()}
    assert {name: documents[name]["kind"] for name in found} == {name: name.split("-")[0] for name in found}
    assert [documents[name]["cost"]["prompts"] for name in ARMS] == [4, 8, 4, 8]
    assert (
        documents["warm_start-0"]["cost"]["prompts"] == 3 * 4
        and documents["warm_start-0"]["cost"]["updates"] == 3
    )
    assert {document["target"]["metrics"]["all"]["n"] for document in documents.values()} == {12}
    assert len({document["sha256"] for document in documents.values()}) == 6
    assert documents["untouched-0"]["tax"]["drift"]["general"]["nll_change_mean"] == 0
    assert abs(documents["sft-4"]["tax"]["drift"]["general"]["nll_change_mean"]) > 1e-3


def test_what_is_finished_is_skipped_and_a_lost_point_alone_is_made_again(
    whole: Whole, children: Children
) -> None:
    found = points(whole.folder)
    written = {name: path.stat().st_mtime_ns for name, path in found.items()}
    hash_before = read(found["sft-4"])["sha256"]
    assert main([*whole.argv, *PARTS]) == 0
    assert children.names == []
    found["sft-4"].unlink()
    assert main([*whole.argv, *PARTS]) == 0
    assert children.names == ["points seed0"]
    assert {
        name for name, path in points(whole.folder).items() if path.stat().st_mtime_ns != written[name]
    } == {"sft-4"}
    assert read(found["sft-4"])["sha256"] == hash_before


def test_one_warm_start_on_disk_and_only_last_weights_stay(whole: Whole) -> None:
    study = whole.folder / "study"
    folders = [study / "warm_start", study / "arms" / "grpo", study / "arms" / "sft"]
    files = [folder / "seed0" / "warm_start" / "model.safetensors" for folder in folders]
    assert len({file.stat().st_ino for file in files}) == 1
    for arm in ("grpo", "sft"):
        run = study / "arms" / arm / "seed0"
        assert [path.name for path in (run / "snapshots").iterdir()] == ["step-000004"]
        assert (run / "snapshots" / "step-000004" / "model.safetensors").samefile(
            run / "policy" / "model.safetensors"
        )
        assert read(points(whole.folder)[f"{arm}-4"])["sha256"] == parameter_hash(
            load_policy(run / "policy", torch.device("cpu"))
        )


def test_a_study_stopped_between_two_arms_ends_as_one_that_was_not(
    whole: Whole,
    children: Children,
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = write_study(tmp_path, corpus, tiny_folder)
    children.broken["sft seed0"] = Interrupted(signal.SIGTERM)
    assert main([*argv, *PARTS]) == 143
    assert "the same command goes on from there" in capsys.readouterr().err
    assert sorted(points(tmp_path)) == ["grpo-2", "grpo-4", "untouched-0", "warm_start-0"]
    children.broken.clear()
    assert children.names
    assert main([*argv, *PARTS]) == 0
    assert children.names == ["sft seed0", "points seed0"]
    hashes = [
        {name: read(path)["sha256"] for name, path in points(folder).items()}
        for folder in (whole.folder, tmp_path)
    ]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 6


def test_a_study_of_an_earlier_version_goes_on_and_is_reported(
    whole: Whole,
    children: Children,
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One arm was finished, the other one stopped after step 2; the report is that of a study of this
    version, but for the times.
    """
    argv = write_study(tmp_path, corpus, tiny_folder)
    real = UpdateHook.__call__
    with monkeypatch.context() as patched:
        patched.setattr(
            UpdateHook,
            "__call__",
            lambda self, state: real(self, state) or (self.run.folder.parent.name, state.step) == ("sft", 2),
        )
        assert main([*argv, *PARTS]) == 1
    for arm in ("grpo", "sft"):
        give_old_names(tmp_path / "study" / "arms" / arm / "seed0", arm)
    assert (tmp_path / "study" / "arms" / "sft" / "seed0" / "checkpoints" / "grpo").is_dir()
    assert children.names
    assert main([*argv, *PARTS]) == 0
    assert children.names == ["sft seed0", "points seed0"]
    hashes = [
        {name: read(path)["sha256"] for name, path in points(folder).items()}
        for folder in (whole.folder, tmp_path)
    ]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 6
    for study in (whole.argv, argv):
        assert main([*study, "--only", "report", "budget=0.5"]) == 0
    summaries = [read(folder / "study" / "summary.json") for folder in (whole.folder, tmp_path)]
    assert summaries[0]["conclusions"] == summaries[1]["conclusions"]
    scores = [[row["metrics"] for row in summary["checkpoints"]] for summary in summaries]
    assert scores[0] == scores[1] and len(scores[0]) == 6


def test_a_real_command_stopped_inside_an_arm_goes_on_to_the_same_end(
    whole: Whole, children: Children, corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    argv = [*write_study(tmp_path, corpus, tiny_folder), "--arms", "sft"]
    training = [sys.executable, "-m", "grpo.study", *argv, "--only", "train"]
    with subprocess.Popen(training, stdout=subprocess.PIPE, text=True, encoding="utf-8") as command:
        assert command.stdout is not None
        printed = []
        for line in command.stdout:
            printed.append(line)
            if line == "sft seed0 | == train\n":
                command.send_signal(signal.SIGTERM)
    assert command.returncode == 143 and any(line.startswith("warm_start seed0 | == sft") for line in printed)
    assert main([*argv, *PARTS]) == 0
    assert children.names[-1] == "points seed0"
    for name in ("sft-4", "warm_start-0"):
        assert read(points(tmp_path)[name])["sha256"] == read(points(whole.folder)[name])["sha256"]


def test_the_report_says_what_the_points_say(whole: Whole, children: Children) -> None:
    assert main([*whole.argv, "--only", "report", "budget=0.5"]) == 0
    assert children.names == []
    study = whole.folder / "study"
    assert {"report.html", "report.md", "summary.json", "study.json"} <= {
        path.name for path in study.iterdir()
    }
    change = read(points(whole.folder)["sft-4"])["tax"]["drift"]["general"]["nll_change_mean"]
    assert f"{change:.3f}".removeprefix("-") in (study / "report.md").read_text(encoding="utf-8")
    written = read(study / "study.json")["arms"][1]
    assert written == {
        "name": "sft",
        "settings": ["train.method=sft"],
        "kind": "sft",
        "start": "warm_start",
        "snapshots": 0,
    }


def test_without_a_tax_panel_nothing_is_trained(
    children: Children,
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unobtainable(cache: Path, extended: bool) -> None:
        raise UnobtainableError("package gensim: no index can be reached")

    monkeypatch.setattr("eval.forgetting.tax.load_tax_panel", unobtainable)
    assert main([*write_study(tmp_path, corpus, tiny_folder), *PARTS]) == 2
    assert "no index can be reached" in capsys.readouterr().err and children.names == []


def test_an_arm_that_fails_is_named_and_the_others_go_on(
    children: Children, corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = write_study(tmp_path, corpus, tiny_folder)
    children.broken["grpo seed0"] = -9
    assert main([*argv, *PARTS]) == 1
    assert (
        f"error: grpo, seed 0, failed (exit code -9); see {tmp_path}/study/arms/grpo/seed0/log.txt"
        in capsys.readouterr().err
    )
    assert sorted(points(tmp_path)) == ["sft-2", "sft-4", "untouched-0", "warm_start-0"]


def test_an_arm_whose_settings_changed_after_training_is_refused(
    whole: Whole, children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*whole.argv, *PARTS, 'arms.sft.settings=["train.method=sft", "train.weight=1"]']) == 2
    assert "arms.sft" in capsys.readouterr().err
    assert main([*whole.argv, *PARTS, 'arms.sft.settings=["train.method=sft", "train.optim.beta2=0.9"]']) == 1
    assert "this run was made with train.optim.beta2 = 0.99, not 0.9" in capsys.readouterr().err


def test_arms_and_parts_may_be_commands_of_their_own(
    children: Children, corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    argv = write_study(tmp_path, corpus, tiny_folder)
    assert main([*argv, "--only", "train", "--arms", "sft"]) == 0
    assert children.names == ["warm_start seed0", "sft seed0"] and points(tmp_path) == {}
    assert main([*argv, "--only", "train", "--arms", "grpo"]) == 0
    assert children.names == ["grpo seed0"]
    assert main([*argv, "--only", "evaluate"]) == 0
    assert children.names == ["points seed0"]  # one process, instruments loaded once
    assert sorted(points(tmp_path)) == [*ARMS, "untouched-0", "warm_start-0"]


def test_points_on_the_way_from_the_untouched_model(whole: Whole, children: Children) -> None:
    assert main([*whole.argv, *PARTS, "--arms", "sft", "interpolate=[0.01, 0.99]"]) == 0
    assert children.names == ["points seed0"]
    found = points(whole.folder)
    near, far, end = (read(found.pop(name)) for name in ("sft+interp-1", "sft+interp-99", "sft-4"))
    assert (near["kind"], near["seed"], near["num_steps"]) == ("interpolated", 0, 100)
    change = [point["tax"]["drift"]["general"]["nll_change_mean"] for point in (near, far, end)]
    assert abs(change[0]) < 0.05 * abs(change[2]) and change[1] == pytest.approx(change[2], rel=0.05)
    for path in (whole.folder / "study" / "points" / "sft+interp" / "seed0").iterdir():
        path.unlink()  # the other tests' study is as it was
