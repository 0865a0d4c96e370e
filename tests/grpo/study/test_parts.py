"""What a study is made of: children and their signals, locks, shared samples, what is kept, the bill, weights
between two models.
"""

import json
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_study import write_study

from data.errors import InputError, Interrupted
from grpo.runtime import device
from grpo.runtime.run_folder import study_lock
from grpo.stages.context import Run
from grpo.stages.evaluate import Measures
from grpo.stages.machine import Machine
from grpo.study import points, tasks
from grpo.study.__main__ import Work, bill_of, main
from grpo.study.arms import SAMPLES, share_samples, share_start
from grpo.study.children import Job, run_child
from grpo.study.config import ArmConfig, SequenceConfig, Study, TransferConfig, load_study
from grpo.study.cost import ArmBill, Bill, Time, make_bill, models_on_disk
from grpo.study.points import interpolate, points_on_front, prune

pytestmark = pytest.mark.usefixtures("own_cache")


def test_what_a_child_prints_is_named_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_child(Job(["grpo.run", "--config", "nowhere.toml"], "arm seed0", tmp_path / "new")) == 2
    printed = capsys.readouterr().out
    assert printed.startswith("arm seed0 | error: nowhere.toml: cannot be read")
    assert (tmp_path / "new" / "log.txt").read_text(encoding="utf-8") == printed.removeprefix("arm seed0 | ")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_passed_on_and_the_child_may_save(name: str, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        run_child(Job(["tests.support.study_child", name], "arm", tmp_path))
    assert stopped.value.args == (signal.Signals[name],)
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "working\nsaved\n"


def test_a_run_folder_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    said = threading.Event()
    came = threading.Event()

    def second() -> None:
        with study_lock(tmp_path, lambda _: said.set()):
            came.set()

    with study_lock(tmp_path, lambda _: pytest.fail("nobody else is here")):
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(60) and not came.is_set()
    thread.join(60)
    assert came.is_set()


@pytest.fixture
def study(corpus: Path, tiny_folder: Path, tmp_path: Path) -> Study:
    best = '"train.method=best_of_group"'
    arms = f'[arms.best_a]\nsettings=[{best}]\n[arms.best_b]\nsettings=[{best}, "train.optim.lr=3e-3"]\n'
    more = arms + f'[arms.best_c]\nsettings=[{best}, "rollout.temperature=0.5"]\n'
    return load_study(write_study(tmp_path, corpus, tiny_folder, more)[1])


def test_an_arm_begins_from_the_warm_start_or_from_the_untouched_model(
    study: Study, tiny_folder: Path
) -> None:
    warm = study.warm_start_folder(0) / "warm_start"
    warm.mkdir(parents=True)
    (warm / "model.safetensors").write_text("warm", encoding="utf-8")
    (warm.parent / "corpus.json").write_text("{}", encoding="utf-8")
    share_start(study, ArmConfig("grpo"), 0)
    share_start(study, ArmConfig("best_a", start="untouched"), 0)
    own = {
        name: study.arm_folder(name, 0) / "warm_start" / "model.safetensors" for name in ("grpo", "best_a")
    }
    assert own["grpo"].samefile(warm / "model.safetensors")
    assert own["best_a"].samefile(tiny_folder / "model.safetensors")
    with pytest.raises(
        InputError, match=r"best_a/seed0/policy: arms\.best_b begins from this model, which is not there yet;"
    ):
        share_start(study, ArmConfig("best_b", start="best_a"), 0)
    policy = study.arm_folder("best_a", 0) / "policy"
    policy.mkdir()
    (policy / "model.safetensors").write_text("taught", encoding="utf-8")
    share_start(study, ArmConfig("best_b", start="best_a"), 0)
    assert (study.arm_folder("best_b", 0) / "warm_start" / "model.safetensors").samefile(
        policy / "model.safetensors"
    )


def test_samples_are_shared_where_they_would_be_the_same(study: Study) -> None:
    first = study.arm_folder("best_a", 0)
    first.mkdir(parents=True)
    (first / SAMPLES).write_text("drawn\n", encoding="utf-8")
    share_samples(study, study.arm("best_b"), 0)
    assert not (study.arm_folder("best_b", 0) / SAMPLES).exists()  # the other one may still be drawing
    (first / "policy").mkdir()
    for name in ("best_b", "best_c", "grpo"):
        share_samples(study, study.arm(name), 0)
    assert (study.arm_folder("best_b", 0) / SAMPLES).read_text(encoding="utf-8") == "drawn\n"
    assert not any((study.arm_folder(name, 0) / SAMPLES).exists() for name in ("best_c", "grpo"))


def evaluated(study: Study, name: str, step: int, gain: float, tax: float) -> Path:
    """A snapshot folder and its point."""
    snapshot = study.arm_folder(name, 0) / "snapshots" / f"step-{step:06d}"
    snapshot.mkdir(parents=True)
    path = study.point_path(name, 0, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = {"all": {study.target: gain}}
    path.write_text(
        json.dumps({"target": {"metrics": metrics}, "tax": {"drift": {"general": {"nll_change_mean": tax}}}}),
        encoding="utf-8",
    )
    return snapshot


def test_weights_stay_while_they_are_on_the_front_and_at_an_arm_s_end(study: Study) -> None:
    """grpo-2 is the cheapest; sft-2 gains no more than grpo-4 and costs more; sft-4, the worst, is the last
    of its arm.
    """
    study = replace(study, keep_snapshots="front")
    given = {
        ("grpo", 2): (0.5, 0.01),
        ("grpo", 4): (0.6, 0.02),
        ("grpo", 6): (0.55, 0.03),
        ("sft", 2): (0.6, 0.03),
        ("sft", 4): (0.4, 0.5),
    }
    folders = {key: evaluated(study, *key, *numbers) for key, numbers in given.items()}
    waiting = study.arm_folder("best_a", 0) / "snapshots" / "step-000002"
    waiting.mkdir(parents=True)  # not evaluated yet
    assert points_on_front(study, 0) == {study.point_path("grpo", 0, 2), study.point_path("grpo", 0, 4)}
    prune(study, 0, lambda text: None)
    assert {key for key, folder in folders.items() if folder.exists()} == {
        ("grpo", 2),
        ("grpo", 4),
        ("grpo", 6),
        ("sft", 4),
    }
    assert waiting.exists()
    prune(replace(study, keep_snapshots="none"), 0, lambda text: None)
    assert {key for key, folder in folders.items() if folder.exists()} == {("grpo", 6), ("sft", 4)}


def test_points_are_measured_with_half_the_batch_where_a_card_has_no_memory(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.warm_start_folder(0).mkdir(parents=True)
    sizes = []
    said: list[str] = []

    def measure(study: Study, run: Run, arms: object, seeds: object) -> None:
        sizes.append(run.config.eval.batch_size)
        if sizes[-1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(points, "measure_missing", measure)
    points.evaluate_all(study, study.arms, (0,), said.append)
    points.evaluate_all(study, study.arms, (0,), said.append)  # knows it by now
    assert sizes == [64, 32, 32]
    assert sum("goes on with eval.batch_size=32" in line for line in said) == 2


def test_tasks_are_measured_with_half_the_batch_where_a_card_has_no_memory(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def outputs(measures: Measures, *_: object) -> dict[str, list[str]]:
        sizes.append(measures.run.config.eval.batch_size)
        if sizes[-1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"": ["x"]}

    monkeypatch.setattr(Measures, "outputs", outputs)
    run = tasks.task_run(study.warm_start_config(0), study.folder / "untouched", lambda _: None)
    model = Path(run.config.model.policy)
    assert tasks.outputs_of(Measures(run, {}), model) == {"": ["x"]} and sizes == [64, 32]


def test_the_bill_comes_first_and_leaves_nothing_behind(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(tmp_path / "study.toml"), "--check", "seeds=[0, 1]"]) == 0
    printed = capsys.readouterr().out
    assert "arms: 5, seeds: 2;" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("  best_b ")]
    assert (
        "best_of_group     4 steps x    2 prompts" in row
        and "2 points" in row
        and row.endswith("train.optim.lr=3e-3")
    )
    assert f"+ {1 + 2 + 2 * 5 * 2} points" in printed
    assert not study.folder.exists()


def test_a_cpu_takes_seconds_to_start_each_process(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past bug: a study of tiny models was said to take under a minute, and took nine."""
    compute = device.choose("cpu", "auto")
    monkeypatch.setattr(Machine, "of", lambda _: Machine(1e15, compute.format))
    config = study.config
    more = replace(
        study,
        transfer=TransferConfig(config, examples=(4, 8), starts=("untouched", "best_b")),
        sequence=SequenceConfig((config, config), {"sft": ("train.method=sft",)}),
    )
    bill = make_bill(more, more.arms, (0, 1), None, compute)
    assert bill.start_seconds == 7 * 2 * (1 + 2 * 5)
    assert bill.transfer.seconds == pytest.approx(7 * 2 * 4, abs=0.5)
    assert bill.sequence.seconds == pytest.approx(7 * 2 * 2, abs=0.5)
    for seed in (0, 1):
        (study.warm_start_folder(seed) / "warm_start").mkdir(parents=True)
    assert make_bill(study, study.arms, (0, 1), None, compute).start_seconds == 7 * 2 * 2 * 5


def test_what_is_done_is_not_billed_again(study: Study) -> None:
    arms = [ArmBill(ArmConfig("a"), 100.0, 2, 1, 1, True), ArmBill(ArmConfig("b"), 30.0, 3, 1, 1, False)]
    bill = Bill(tuple(arms), 2, 0.0, 10.0, Time(5.0), 1, 2e9, False)
    assert bill.points == 1 + 2 * 3 and bill.seconds == 2 * 30 + 7 * 10 + 5
    assert bill.summary().startswith(
        "bill: about 2 min on this machine (training 1 min + 7 points 1 min + transfer 5 s), 2.0 GB"
    )


def test_each_part_of_the_bill_has_the_range_of_its_own_corpus() -> None:
    """20 hours of the study's own, and of transfer 4 whose texts are not counted."""
    arms = (ArmBill(ArmConfig("a"), 72_000.0, 0, 1, 1, False),)
    bill = Bill(arms, 1, 0.0, 0.0, Time(4 * 3600.0), 0, 2e9, False, spread=(0.5, 2.0))
    assert bill.likely_time() == "likely 11.0 to 52.0 hours, of them transfer 60 min to 12.0 hours"
    narrow = 0.5, 2.0
    both = replace(bill, sequence=Time(3600.0, narrow), transfer=Time(4 * 3600.0, narrow))
    assert both.likely_time() == (
        "likely 12.5 to 50.0 hours, of them transfer 2.0 to 8.0 hours and sequence 30 min to 2.0 hours"
    )


def test_the_lengths_of_another_task_are_counted(study: Study, tmp_path: Path) -> None:
    """A file of the user's is there before any run: the texts of [transfer] and [sequence] give narrow ranges."""
    config = study.config
    more = replace(
        study,
        transfer=TransferConfig(config, examples=(4,), starts=("untouched",)),
        sequence=SequenceConfig((config,), {"sft": ("train.method=sft",)}),
    )
    counted = bill_of(Work(more, more.arms, (0,), ()))
    assert (counted.spread, counted.transfer.spread, counted.sequence.spread) == ((0.5, 2.0),) * 3
    compute = device.choose("cpu", "auto")
    uncounted = make_bill(more, more.arms, (0,), None, compute)
    assert uncounted.transfer.spread == uncounted.sequence.spread == (0.25, 3.0)


@pytest.mark.parametrize(
    ("keep", "earlier"), [("all", 2 * 5 + 0), ("none", 0 + 2), ("front", 0.15 * 2 * 5 + 0.85 * 2)]
)
def test_models_on_disk_by_hand(keep: str, earlier: float, study: Study) -> None:
    """Two seeds: a warm start and five last models each; of earlier snapshots 2 + 1 + 1 + 1 + 0 a seed, at
    most 2 of them not evaluated yet; and while an arm is trained three checkpoints of parameters and two
    moments, one more than are kept."""
    bills = [ArmBill(ArmConfig("any"), 0.0, points, 1, 1, False) for points in (3, 2, 2, 2, 1)]
    models = models_on_disk(replace(study, keep_snapshots=keep), bills, 2, study.warm_start_config(0))
    assert models == pytest.approx(2 * 6 + earlier + 3 * 3)


def test_between_two_models_every_tensor_moves_the_same_share() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = (
        {"a": torch.randn(3, 4, generator=generator), "b": torch.randn(5, generator=generator)}
        for _ in range(2)
    )
    half = interpolate(start, end, 0.25)
    torch.testing.assert_close(half, {name: 0.75 * start[name] + 0.25 * end[name] for name in start})
    for share, whole in ((0.0, start), (1.0, end)):
        assert all(
            torch.equal(tensor, whole[name]) for name, tensor in interpolate(start, end, share).items()
        )
