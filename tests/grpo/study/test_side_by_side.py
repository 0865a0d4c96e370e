"""Arms side by side on one device: as many at a time as the study says, one that fails is named, a stop stops all."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_study import PARTS, Children, points, write_study

from data.errors import InputError, Interrupted
from grpo.study.__main__ import main
from grpo.study.children import Job, run_children
from grpo.study.config import load_study

MEETING = "tests.support.meeting_child"


def meeting(folder: Path, own: str, other: str) -> Job:
    return Job([MEETING, str(folder / own), str(folder / other)], own, folder / f"log-{own}")


def test_children_run_side_by_side_and_all_codes_come_back(tmp_path: Path) -> None:
    """The first two wait for each other; the third begins when one has ended; a bad command takes nothing with it."""
    bad = Job(["tests.support.no_such_child"], "bad", tmp_path / "log-bad")
    jobs = [meeting(tmp_path, "a", "b"), meeting(tmp_path, "b", "a"), bad, meeting(tmp_path, "c", "a")]
    codes = run_children(jobs, 2)
    assert (codes[0], codes[1], codes[3]) == (0, 0, 0) and codes[2] not in (0, 3)
    logs = [(job.folder / "log.txt").read_text(encoding="utf-8") for job in jobs]
    assert logs[0] == logs[1] == logs[3] == "here\n" and "no_such_child" in logs[2]


def test_a_stop_reaches_all_children_and_starts_no_other(tmp_path: Path) -> None:
    asks = Job(["tests.support.study_child", "SIGTERM"], "asks", tmp_path / "log-asks")
    jobs = [meeting(tmp_path, "a", "never"), asks, meeting(tmp_path, "c", "a")]
    with pytest.raises(Interrupted) as stopped:
        run_children(jobs, 2)
    assert stopped.value.args == (signal.SIGTERM,)
    assert (asks.folder / "log.txt").read_text(encoding="utf-8") == "working\nsaved\n"
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("own_cache")
def test_each_arm_is_a_command_and_one_that_fails_is_named(
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: Children,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[list[str], int]] = []

    def watched(jobs: Sequence[Job], at_most: int) -> list[int]:
        calls.extend([([job.name for job in jobs], at_most)] * bool(jobs))
        return run_children(jobs, at_most)

    for module in ("grpo.study.__main__", "grpo.study.arms"):
        monkeypatch.setattr(f"{module}.run_children", watched)
    argv = [*write_study(tmp_path, corpus, tiny_folder), "side_by_side=3"]
    children.broken["grpo seed0"] = -9
    assert main([*argv, *PARTS]) == 1
    assert [calls[0], calls[-1]] == [(["warm_start seed0"], 3), (["grpo seed0", "sft seed0"], 3)]
    place = tmp_path / "study" / "commands" / "grpo-seed0"
    assert f"error: grpo seed0, failed (exit code 1); see {place / 'log.txt'}" in capsys.readouterr().err
    assert sorted(points(tmp_path)) == ["sft-2", "sft-4", "untouched-0", "warm_start-0"]
    children.broken.clear()
    calls.clear()
    assert main([*argv, *PARTS]) == 0
    assert calls[-1] == (["grpo seed0"], 3)  # what is finished starts no command
    assert sorted(points(tmp_path)) == ["grpo-2", "grpo-4", "sft-2", "sft-4", "untouched-0", "warm_start-0"]


@pytest.mark.usefixtures("own_cache")
def test_an_arm_of_each_learning_rate(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    more = """
[arms.slow]
settings = ["train.optim.lr=1e-7"]
[arms.wide]
learning_rates = [0.0025]
[arms.then]
start = "sft_1e-5"
learning_rates = []
"""
    argv = write_study(tmp_path, corpus, tiny_folder, more)
    study = load_study(argv[1], ["learning_rates=[3e-6, 1e-5]"])
    assert [arm.name for arm in study.arms] == [
        "grpo_3e-6", "grpo_1e-5", "sft_3e-6", "sft_1e-5", "slow", "wide_2_5e-3", "then",
    ]  # fmt: skip
    rates = {arm.name: study.arm_config(arm, 0).train.optim.lr for arm in study.arms}
    assert (rates["grpo_3e-6"], rates["slow"], rates["wide_2_5e-3"], rates["then"]) == (
        3e-6,
        1e-7,
        0.0025,
        1e-3,
    )
    with pytest.raises(InputError, match=r"arms\.grpo_1e-5: two arms of this name"):
        load_study(argv[1], ["learning_rates=[1e-5, 1e-5]"])
