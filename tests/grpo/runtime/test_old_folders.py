"""Run folders of earlier versions: resumed, evaluated and reported like those of this one."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import outcome
from earlier_version import give_old_names, write_old_settings
from tiny_hooks import invent_scores, stop_after
from tiny_run import Command, metrics, weights

from grpo.run import main
from grpo.runtime.old_folders import update_names

pytestmark = pytest.mark.usefixtures("own_cache")
METHODS = ["grpo", "sft", "best_of_group"]
SAMPLING = ["rollout.max_new_tokens=64", "rollout.group_size=6"]  # of random bytes few end before
LOOKING = ["eval.every=1", "checkpoint.every=1", "checkpoint.keep=1", "train.optim.schedule=constant"]


@pytest.fixture
def command(command: Command) -> Command:
    return lambda name, *more: command(name, *SAMPLING, *more)


def fingerprints(run: Path) -> dict[str, str]:
    """The content of every file by its path, without what a start writes again (report, places, versions)."""
    written = ("report.html", "report.md", "summary.json", "environment.json", "events.out")
    files = (path for path in run.rglob("*") if path.is_file() and not path.name.startswith(written))
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_to_the_same_bits(
    method: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped after step 3 of 4, its best after step 1: weights, best weights and log are those of a run that
    was never stopped.
    """
    invent_scores(monkeypatch, {1: 0.9, 2: 0.2, 3: 0.3, 4: 0.4})
    more = [*LOOKING, f"train.method={method}"]
    assert main(command("whole", *more)) == 0
    whole = tmp_path / "whole" / "run"
    parts = tmp_path / "parts" / "run"
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert main(command("parts", *more)) != 0
    give_old_names(parts, method)
    write_old_settings(parts / "config.json")
    assert (parts / "checkpoints" / "grpo" / "step-000003").is_dir()
    assert not (parts / "policy_best").exists()
    capsys.readouterr()
    assert main(command("parts", *more)) == 0
    assert "resuming train at step 3" in capsys.readouterr().out
    assert weights(parts) == weights(whole)
    best = [run / "policy_best" / "model.safetensors" for run in (parts, whole)]
    assert best[0].read_bytes() == best[1].read_bytes() != weights(whole)
    assert metrics(parts) == metrics(whole)
    rollouts = [(run / "rollouts.jsonl").read_text(encoding="utf-8") for run in (parts, whole)]
    assert rollouts[0] == rollouts[1]
    assert not (parts / "checkpoints" / "train").exists() and not (parts / "checkpoints" / "grpo").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_is_reported_as_before_and_never_renamed_twice(
    method: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The report and every other file are byte for byte those under the present names."""
    invent_scores(monkeypatch, {1: 0.9, 2: 0.2, 3: 0.3, 4: 0.4})
    more = [*LOOKING, f"train.method={method}"]
    run = tmp_path / "a" / "run"
    assert main([*command("a", *more), "--stages", "data,sft,train,eval,report"]) == 0
    report = (run / "report.md").read_text(encoding="utf-8")
    name = {"grpo": "GRPO", "sft": "SFT", "best_of_group": "Best of group"}[method]
    assert f"## {name} minus warm start" in report and f"| {name}, best on dev |" in report
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    update_names(run)
    present = fingerprints(run)
    give_old_names(run, method)
    assert {"eval/grpo.json", "eval/grpo_best.json"} < fingerprints(run).keys()
    update_names(run)
    assert fingerprints(run) == present
    give_old_names(run, method)
    capsys.readouterr()
    assert main([*command("a", *more), "--stages", "eval,report"]) == 0
    links = {path.name: path.readlink().name for path in (run / "eval").glob("grpo*.json")}
    assert links == {"grpo.json": "trained.json", "grpo_best.json": "trained_best.json"}
    assert "evaluating" not in capsys.readouterr().out  # nothing is made again
    again = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    for part in ("verdict", "gaps", "metrics", "signatures", "comparison", "training"):
        assert again[part] == summary[part]


def test_a_kill_in_between_is_completed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of the files that the renaming writes or moves."""
    run = tmp_path / "a" / "run"
    assert main([*command("a"), "--stages", "data,sft,train,eval"]) == 0
    (run / "checkpoints" / "train").mkdir(parents=True)
    present = fingerprints(run)
    give_old_names(run, "grpo")
    shutil.copytree(run, tmp_path / "old")
    kills = 0
    while True:
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "old", run)
        with monkeypatch.context() as patched:
            interrupt_replacement(patched, kills)
            try:
                update_names(run)
                break
            except KeyboardInterrupt:
                kills += 1
        update_names(run)
        assert fingerprints(run) == present and (run / "checkpoints" / "train").is_dir()
    assert kills == 7  # checkpoints, two for the system, comparison, timings, two logs


def interrupt_replacement(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl-C in place of the replacement of that number, from 0, of a file or folder."""
    real = os.replace
    calls = iter(range(1000))

    def replace(source: Path, target: Path) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_the_old_name_of_the_stage_still_works(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("a"), "--stages", "data,sft,grpo"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith("--stages grpo: this stage is now called train")
    assert "== train" in printed and (tmp_path / "a" / "run" / "policy").is_dir()
    code, sentence = outcome(main, [*command("a"), "--stages", "strong_sft"])
    assert code == 2 and "known stages: data, model, sft, train, eval, report" in sentence


def test_texts_and_damaged_bytes_stay_as_they_are(tmp_path: Path) -> None:
    """A completion that reads like an old name is not renamed, nor is a line that a kill cut off."""
    rows = '{"stage": "grpo", "step": 0, "completion": "grpo"}\n'
    rows += '{"stage": "grpo_dev", "step": 0, "text": "{\\"stage\\": \\"grpo\\"}"}\n{"stage": "gr'
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        (tmp_path / name).write_text(rows, encoding="utf-8")
    update_names(tmp_path)
    present = rows.replace('{"stage": "grpo", "step"', '{"stage": "train", "step"').replace(
        "grpo_dev", "train_dev"
    )
    assert [
        (tmp_path / name).read_text(encoding="utf-8") for name in ("metrics.jsonl", "rollouts.jsonl")
    ] == [present, present]
    damaged = b'{"stage": "grpo", "step": \xff}\n'
    (tmp_path / "metrics.jsonl").write_bytes(damaged)
    update_names(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == damaged
