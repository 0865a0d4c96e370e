"""Looking at the dev set during training: it changes nothing, is logged, survives a resume, and keeps the
best checkpoint.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hooks import invent_scores, stop_after
from tiny_run import Command, metrics, weights
from transformers import AutoModelForCausalLM

from data.errors import InputError
from data.examples import Example
from eval.systems import evaluate_system
from grpo.config_file import load_config
from grpo.run import main
from grpo.runtime import checkpoint
from grpo.stages import hooks
from grpo.stages.context import Run
from grpo.stages.dev_metric import DevMetric, mean_cosine
from grpo.stages.hooks import UpdateHook
from grpo.stages.reward_setup import held_out_store, store_of

pytestmark = pytest.mark.usefixtures("own_cache")


def dev_rows(run: Path) -> list[dict]:
    return metrics(run, "train_dev")


def test_it_changes_nothing_and_is_logged(command: Command, tmp_path: Path) -> None:
    runs = {}
    for every in (0, 1, 3):
        runs[every] = tmp_path / str(every) / "run"
        assert main(command(str(every), f"eval.every={every}")) == 0
    assert weights(runs[0]) == weights(runs[1]) == weights(runs[3])
    grpo = [metrics(run, "train") for run in runs.values()]
    assert grpo[0] == grpo[1] == grpo[2]
    assert [row["step"] for row in dev_rows(runs[1])] == [0, 1, 2, 3]
    assert [row["step"] for row in dev_rows(runs[3])] == [2, 3]  # and at the end
    assert dev_rows(runs[0]) == []
    assert dev_rows(runs[3]) == dev_rows(runs[1])[2:]
    assert 0 <= dev_rows(runs[1])[0]["reward_mean"] <= 1


def test_an_earlier_step_that_did_better_is_saved_too(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Step 2 is best of 1 to 4: `policy_best` is a run of two steps, bit for bit, and is evaluated beside the
    last.
    """
    run = tmp_path / "a" / "run"
    short = tmp_path / "b" / "run"
    constant = ["train.optim.schedule=constant", "checkpoint.keep=1", "eval.every=1"]
    assert main(command("b", *constant[:2], "train.num_steps=2")) == 0
    invent_scores(monkeypatch, {1: 0.1, 2: 0.4, 3: 0.2, 4: 0.3})
    assert main(command("a", *constant)) == 0
    assert (
        "step-000002 did better on the dev set (0.400, the end 0.300); it is saved as policy_best/"
        in capsys.readouterr().out
    )
    assert (run / "policy_best" / "model.safetensors").read_bytes() == weights(short) != weights(run)
    AutoModelForCausalLM.from_pretrained(run / "policy_best")
    assert main(command("a", *constant, "--stages", "eval,report")) == 0
    assert json.loads((run / "eval" / "trained_best.json").read_text())["metrics"]["all"]["n"] == 12
    assert "GRPO, best on dev" in (run / "report.md").read_text(encoding="utf-8")


def test_an_unrewarded_score_chooses_and_the_reward_does_not(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward is highest at the end, chrF after step 2."""
    run = tmp_path / "a" / "run"
    chrf = {1: 20.0, 2: 40.0, 3: 30.0, 4: 10.0}
    real = UpdateHook._score_dev_set

    def invented(between: UpdateHook) -> float | None:
        step = between.state.step
        between.score = lambda: {"chrf": chrf[step], "reward_mean": 0.1 * step}
        return real(between)

    monkeypatch.setattr(UpdateHook, "_score_dev_set", invented)
    more = ["eval.best_by=chrf", "checkpoint.keep=1", "--stages", "data,model,sft,train"]
    assert main(command("a", "eval.every=1", *more)) == 0
    assert (run / "policy_best").exists()


@pytest.mark.parametrize("best_by", ["chrf", "rouge_l", "cosine_held_out"])
def test_the_score_is_that_of_the_evaluation(
    best_by: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dev set's outputs, scored here by the functions of the final evaluation."""
    seen = {}
    real = hooks.dev_metric

    def watched(run: Run) -> DevMetric:
        metric = real(run)
        assert metric is not None

        def score(examples: Sequence[Example], outputs: Sequence[str]) -> float:
            outputs = [example.reference[: 1 + number % 3] for number, example in enumerate(examples)]
            items = evaluate_system(
                "x", examples, outputs, embed=store_of(run).embed, is_consistent=lambda *_: True, encoder="e",
                held_out=held_out_store(run).embed, held_out_encoder="h",
            )  # fmt: skip
            seen["expected"] = items["metrics"]["all"][best_by]
            return metric(examples, outputs)

        return score

    monkeypatch.setattr(hooks, "dev_metric", watched)
    more = ["eval.every=4", f"eval.best_by={best_by}", "--stages", "data,model,sft,train"]
    assert main(command("a", *more)) == 0
    assert dev_rows(tmp_path / "a" / "run")[-1][best_by] == pytest.approx(seen["expected"], rel=1e-6)
    assert seen["expected"] > 0


@dataclass
class Constant:
    """Vectors whose cosine with a reference text is always the same."""

    cosine: float

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        sine = (1 - self.cosine**2) ** 0.5
        return torch.tensor([[1.0, 0.0] if text == "reference" else [self.cosine, sine] for text in texts])


def test_a_cosine_is_that_of_the_encoder_of_each_language() -> None:
    """0.8 twice, 0.2 once."""
    examples = [
        Example(str(n), "s", "reference", "o", "l", "en", language) for n, language in enumerate("bzb")
    ]
    stores: Any = {"b": Constant(0.8), "z": Constant(0.2)}
    assert mean_cosine(stores, examples, ["x", "y", "z"]) == pytest.approx(1.8 / 3)
    assert mean_cosine({"b": stores["b"]}, examples, ["x", "y", ""]) == pytest.approx(1.6 / 3)


@pytest.mark.parametrize(
    "best_by, weights, is_refused",
    [("cosine", "cosine", True), ("cosine", "margin", True), ("chrf", "chrf", True), ("chrf", "bleu", False), ("reward", "chrf", False),
     ("cosine", "coverage", True), ("cosine_held_out", "cosine", False), ("rouge_l", "chrf", False)],
)  # fmt: skip
def test_a_rewarded_score_chooses_nothing(
    best_by: str, weights: str, is_refused: bool, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(f"[reward]\nweights = {{{weights} = 1.0}}\n", encoding="utf-8")
    overrides = ["eval.every=1", f"eval.best_by={best_by}"]
    if is_refused:
        with pytest.raises(InputError, match=f"eval.best_by = '{best_by}' would choose.*{weights}"):
            load_config(tmp_path / "c.toml", overrides)
    assert load_config(tmp_path / "c.toml", overrides[1:]).eval.best_by == best_by
    if not is_refused:
        assert load_config(tmp_path / "c.toml", overrides).eval.every == 1


def test_a_gate_is_rewarded_too_and_a_group_is_needed_to_compare_one(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[eval]\nevery = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"eval.best_by = 'chrf' would choose.*\(chrf\)"):
        load_config(tmp_path / "c.toml", ["eval.best_by=chrf", 'reward.gates=["chrf"]'])
    for value in ("true", "rank"):
        with pytest.raises(InputError, match="looks at single outputs"):
            load_config(tmp_path / "c.toml", ["eval.best_by=reward", f"reward.normalise={value}"])
    assert load_config(tmp_path / "c.toml", ["eval.best_by=reward", "reward.normalise=dev"])


def test_a_best_checkpoint_of_an_earlier_version_is_not_compared_with_another_score(tmp_path: Path) -> None:
    (tmp_path / "step-000001").mkdir()
    (tmp_path / "best.json").write_text('{"name": "step-000001", "score": 0.9}', encoding="utf-8")
    assert checkpoint.best(tmp_path) == (tmp_path / "step-000001", 0.9)
    assert checkpoint.best(tmp_path, "cosine_held_out") is None


def test_the_last_step_is_no_best_of_its_own(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a" / "run"
    invent_scores(monkeypatch, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    assert main(command("a", "eval.every=1")) == 0
    assert not (run / "policy_best").exists()


def test_the_best_survives_pruning_and_a_restart(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after step 3 with one checkpoint kept: step 1 is still there, is known as the best, and wins in
    the end.
    """
    run = tmp_path / "a" / "run"
    argv = command("a", "eval.every=1", "checkpoint.every=1", "checkpoint.keep=1")
    with monkeypatch.context() as patched:
        invent_scores(patched, {1: 0.9, 2: 0.2, 3: 0.3})
        stop_after(patched, 3)
        assert main(argv) != 0
    kept = sorted(path.name for path in (run / "checkpoints" / "train").glob("step-*"))
    assert kept == ["step-000001", "step-000003"]
    invent_scores(monkeypatch, {4: 0.4})
    assert main(argv) == 0
    assert (run / "policy_best").exists()
    assert [row["reward_mean"] for row in dev_rows(run)] == [0.9, 0.2, 0.3, 0.4]
