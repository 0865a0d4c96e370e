"""Looking at the dev set during training: it changes nothing, is logged, survives a resume, and keeps the
best checkpoint.
"""

import json
from pathlib import Path

import pytest
from tiny_run import arguments, metrics, quick, weights
from transformers import AutoModelForCausalLM

from grpo.run import main
from grpo.stages.hooks import UpdateHook

pytestmark = pytest.mark.usefixtures("own_cache")


def dev_rows(run: Path) -> list[dict]:
    return [row for row in metrics(run) if row["stage"] == "train_dev"]


def test_it_changes_nothing_and_is_logged(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    runs = {}
    for every in (0, 1, 3):
        runs[every] = tmp_path / str(every) / "run"
        assert (
            main([*arguments(corpus, tiny_folder, runs[every], *quick(tiny_folder)), f"eval.every={every}"])
            == 0
        )
    assert weights(runs[0]) == weights(runs[1]) == weights(runs[3])
    grpo = [[row for row in metrics(run) if row["stage"] == "train"] for run in runs.values()]
    assert grpo[0] == grpo[1] == grpo[2]
    assert [row["step"] for row in dev_rows(runs[1])] == [0, 1, 2, 3]
    assert [row["step"] for row in dev_rows(runs[3])] == [2, 3]  # and at the end
    assert dev_rows(runs[0]) == []
    assert dev_rows(runs[3]) == dev_rows(runs[1])[2:]
    assert 0 <= dev_rows(runs[1])[0]["reward_mean"] <= 1


def scores(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Let the dev set say these scores after these steps."""

    def invented(between: UpdateHook) -> float | None:
        assert between.score is not None
        score = values[between.state.step]
        between.score = lambda: {"reward_mean": score}
        return real(between)

    real = UpdateHook._score_dev_set
    monkeypatch.setattr(UpdateHook, "_score_dev_set", invented)


def test_an_earlier_step_that_did_better_is_saved_too(
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Step 2 is best of 1 to 4: `policy_best` is a run of two steps, bit for bit, and is evaluated beside the
    last.
    """
    run = tmp_path / "a" / "run"
    short = tmp_path / "b" / "run"
    constant = ["train.optim.schedule=constant", "checkpoint.keep=1", "eval.every=1"]
    assert (
        main(
            [*arguments(corpus, tiny_folder, short, *quick(tiny_folder)), *constant[:2], "train.num_steps=2"]
        )
        == 0
    )
    scores(monkeypatch, {1: 0.1, 2: 0.4, 3: 0.2, 4: 0.3})
    assert main([*arguments(corpus, tiny_folder, run, *quick(tiny_folder)), *constant]) == 0
    assert (
        "step-000002 did better on the dev set (0.400, the end 0.300); it is saved as policy_best/"
        in capsys.readouterr().out
    )
    assert (run / "policy_best" / "model.safetensors").read_bytes() == weights(short) != weights(run)
    AutoModelForCausalLM.from_pretrained(run / "policy_best")
    assert (
        main(
            [*arguments(corpus, tiny_folder, run, *quick(tiny_folder), *constant, "--stages", "eval,report")]
        )
        == 0
    )
    assert json.loads((run / "eval" / "trained_best.json").read_text())["metrics"]["all"]["n"] == 12
    assert "GRPO, best on dev" in (run / "report.md").read_text(encoding="utf-8")


def test_the_last_step_is_no_best_of_its_own(
    corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    scores(monkeypatch, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    assert main([*arguments(corpus, tiny_folder, run, *quick(tiny_folder)), "eval.every=1"]) == 0
    assert not (run / "policy_best").exists()


def test_the_best_survives_pruning_and_a_restart(
    corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after step 3 with one checkpoint kept: step 1 is still there, is known as the best, and wins in
    the end.
    """
    run = tmp_path / "run"
    command = [
        *arguments(corpus, tiny_folder, run, *quick(tiny_folder)),
        "eval.every=1",
        "checkpoint.every=1",
        "checkpoint.keep=1",
    ]
    with monkeypatch.context() as patched:
        scores(patched, {1: 0.9, 2: 0.2, 3: 0.3})
        real = UpdateHook.__call__
        patched.setattr(
            UpdateHook,
            "__call__",
            lambda self, state: real(self, state) or (self.stage == "train" and state.step == 3),
        )
        assert main(command) != 0
    kept = sorted(path.name for path in (run / "checkpoints" / "train").glob("step-*"))
    assert kept == ["step-000001", "step-000003"]
    scores(monkeypatch, {4: 0.4})
    assert main(command) == 0
    assert (run / "policy_best").exists()
    assert [row["reward_mean"] for row in dev_rows(run)] == [0.9, 0.2, 0.3, 0.4]
