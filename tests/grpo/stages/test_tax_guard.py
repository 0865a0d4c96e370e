"""A tax budget in real runs of the tiny model: it is kept, costs nothing while it is far, goes back bit for
bit, and survives a kill.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hooks import stop_after
from tiny_run import Command, assert_same_run, general_text, metrics, weights
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from eval.report.findings import budget_sentences
from eval.run_folder import read_run
from grpo.engine.model import parameter_hash
from grpo.records import LoopState
from grpo.run import main
from grpo.stages.hooks import UpdateHook
from grpo.stages.tax_controller import STRIKES
from grpo.stages.tax_guard import TaxGuard

pytestmark = pytest.mark.usefixtures("own_cache")

TEXTS = [
    "The river rose in the night and the bridge was closed.",
    "A letter came from the mountains.",
    "今天早上下了一场大雨。",
]
LARGE_STEPS = ["train.optim.lr=1e-2", "train.num_steps=12", "checkpoint.every=3", "tax.every=2"]
BUDGET = 0.02

Runner = Callable[..., int]


@pytest.fixture
def go(command: Command, tmp_path: Path) -> Runner:
    """Run the stages data, sft, train into tmp_path/name/run; the exit code."""
    text = general_text(tmp_path, TEXTS)
    return lambda name, *settings: main(command(name, text, *LARGE_STEPS, *settings))


def tax_rows(run: Path) -> list[dict[str, Any]]:
    return [row for row in metrics(run) if row["stage"].endswith("_tax")]


def cost(run: Path, tokenizer: PreTrainedTokenizerFast, before: str = "warm_start") -> float:
    """The tax of the finished policy by the model's own forward pass and another implementation of the
    likelihood.
    """
    nats = []
    tokens = 0
    for folder in (run / before, run / "policy"):
        model = AutoModelForCausalLM.from_pretrained(folder)
        total = 0.0
        tokens = 0
        for text in TEXTS:
            ids = torch.tensor([tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)])
            with torch.no_grad():
                total += float(
                    cross_entropy(model(ids[None]).logits[0, :-1].double(), ids[1:], reduction="sum")
                )
            tokens += len(ids) - 1
        nats.append(total)
    return (nats[1] - nats[0]) / tokens


def test_the_budget_is_kept_where_training_alone_exceeds_it(
    go: Runner, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert go("free") == go("kept", f"tax.budget={BUDGET}") == 0
    free, kept = (cost(tmp_path / name / "run", tiny_tokenizer) for name in ("free", "kept"))
    rows = tax_rows(tmp_path / "kept" / "run")
    assert free > 3 * BUDGET and 0 < kept <= BUDGET
    assert rows[-1]["tax_kept"] == pytest.approx(kept, abs=1e-6)
    assert [row["step"] for row in rows] == [1, 3, 5, 7, 9, 11]
    assert all(row["tax_kept"] <= BUDGET for row in rows) and 0 < sum(row["rolled_back"] for row in rows) < 6
    assert all(bool(row["rolled_back"]) == (row["tax"] > BUDGET) for row in rows)
    steps = {row["step"]: row for row in metrics(tmp_path / "kept" / "run") if row["stage"] == "train"}
    for row in rows[:-1]:  # the log of the next step says what was decided
        assert (
            steps[row["step"] + 1]["kl_coef"] == row["kl_coef"]
            and steps[row["step"] + 1]["lr"] == 1e-2 * row["pace"]
        )
    assert not (tmp_path / "kept" / "run" / "checkpoints" / "train").exists()
    rollbacks = sum(row["rolled_back"] for row in rows)
    assert budget_sentences(read_run(tmp_path / "kept" / "run")) == [
        f"The tax budget of 0.02 nats per token on general text was kept: {kept:.4f} at the end.",
        f"Training went back to an earlier state after {rollbacks} of 6 measurements of the tax.",
    ]
    assert budget_sentences(read_run(tmp_path / "free" / "run")) == []


def test_a_run_far_below_its_budget_is_the_run_without_one(go: Runner, tmp_path: Path) -> None:
    assert go("free", "train.num_steps=4") == go("far", "train.num_steps=4", "tax.budget=100") == 0
    assert weights(tmp_path / "free" / "run") == weights(tmp_path / "far" / "run")
    assert [row["tax"] > 0 for row in tax_rows(tmp_path / "far" / "run")] == [True, True]


def test_imitation_has_a_budget_too(
    go: Runner, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """No KL term: going back and smaller steps keep it."""
    assert go("free", "train.method=sft") == go("kept", "train.method=sft", f"tax.budget={BUDGET}") == 0
    assert (
        cost(tmp_path / "free" / "run", tiny_tokenizer)
        > BUDGET
        >= cost(tmp_path / "kept" / "run", tiny_tokenizer)
    )
    assert {row["stage"] for row in tax_rows(tmp_path / "kept" / "run")} == {"train_tax"}


def script_taxes(monkeypatch: pytest.MonkeyPatch, taxes: dict[int, float]) -> dict[int, tuple[Any, Any]]:
    """Let the measurement after these steps find these taxes; step -> bytes of parameters and moments before
    and after the guard.
    """
    seen: dict[int, tuple[Any, Any]] = {}
    step = [0]

    def bits(guard: TaxGuard) -> tuple[str, list[bytes]]:
        states = guard.hook.optimizer.moments().values()
        return parameter_hash(guard.hook.model), [
            state[key].numpy().tobytes() for state in states for key in sorted(state)
        ]

    def called(guard: TaxGuard, state: LoopState) -> LoopState:
        step[0] = state.step
        before = bits(guard)
        following = real(guard, state)
        seen[state.step] = before, bits(guard)
        return following

    real = TaxGuard.__call__
    monkeypatch.setattr(TaxGuard, "measure", lambda _: taxes.get(step[0], 0.0))
    monkeypatch.setattr(TaxGuard, "__call__", called)
    return seen


def test_going_back_restores_parameters_and_moments_bit_for_bit(
    go: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the budget after steps 2 (back to the very start, without moments), 6 and 8 (both back to 4)."""
    seen = script_taxes(monkeypatch, {2: 1.0, 4: 0.01, 6: 1.0, 8: 1.0, 10: 0.01, 12: 0.0})
    assert go("run", f"tax.budget={BUDGET}") == 0
    assert seen[2][1] != seen[2][0] and seen[2][1][1] == []
    assert seen[4][0] == seen[4][1] == seen[6][1] == seen[8][1]
    assert len({str(seen[step][0]) for step in (2, 4, 6, 8)}) == 4
    rows = metrics(tmp_path / "run" / "run", "train")
    assert [row["lr"] for row in rows] == [1e-2] * 2 + [5e-3] * 4 + [2.5e-3] * 2 + [1.25e-3] * 4


def test_gone_back_too_often_it_ends_with_the_last_state_within(
    go: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Good after 2, beyond ever after: the policy is that of two steps, and no step is run after three
    attempts.
    """
    assert go("short", "train.num_steps=2") == 0
    script_taxes(monkeypatch, {4: 1.0, 6: float("inf"), 8: 1.0})
    assert go("run", f"tax.budget={BUDGET}", "eval.every=2") == 0
    assert weights(tmp_path / "run" / "run") == weights(tmp_path / "short" / "run")
    assert [row["ended"] for row in tax_rows(tmp_path / "run" / "run")] == [0, 0, 0, 1]
    assert max(row["step"] for row in metrics(tmp_path / "run" / "run") if row["stage"] == "train") == 7
    assert f"gone back {STRIKES} times in a row, so training ends here" in capsys.readouterr().out


class Killed(BaseException):
    """What no handler of the run catches: the process is gone."""


@pytest.mark.parametrize("ends", ["asked to stop", "killed"])
def test_resumed_after_every_step_it_goes_back_to_the_same_bits(
    ends: str, go: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to stop, it saves at that step; killed, it goes on from up to two steps earlier, over states kept
    later than that.
    """
    budget = f"tax.budget={BUDGET}"
    assert go("whole", budget) == 0
    real = UpdateHook.__call__

    def interrupted(after: int) -> Callable[[UpdateHook, LoopState], bool]:
        def call(between: UpdateHook, state: LoopState) -> bool:
            done = real(between, state)
            here = between.stage == "train" and state.step == after
            if here and ends == "killed":
                raise Killed
            if here:
                between.save()
            return done or here

        return call

    for step in range(1, 12):
        with monkeypatch.context() as patched:
            patched.setattr(UpdateHook, "__call__", interrupted(step))
            if ends == "killed":
                with pytest.raises(Killed):
                    go("parts", budget)
            else:
                assert go("parts", budget) != 0
    assert go("parts", budget) == 0
    assert_same_run(tmp_path / "parts" / "run", tmp_path / "whole" / "run")
    assert 0 < sum(row["rolled_back"] for row in tax_rows(tmp_path / "whole" / "run")) < 6


def test_a_warm_start_beyond_the_budget_is_refused_before_the_first_step(
    go: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        go("run", "tax.budget=0.001", "tax.against=untouched", "sft.optim.lr=1e-2", "sft.num_steps=25") == 2
    )
    assert "the warm start alone costs" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert (
        "lower sft.optim.lr or sft.num_steps under a new run_dir, raise the budget, or write tax.against"
        in error
    )
    assert not [row for row in metrics(tmp_path / "run" / "run") if row["stage"].startswith("train")]


def test_against_the_untouched_model_the_warm_starts_cost_counts(
    go: Runner, tmp_path: Path, tiny_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert go("run", "tax.budget=100", "tax.against=untouched", "sft.optim.lr=1e-2", "train.num_steps=2") == 0
    run = tmp_path / "run" / "run"
    whole = cost(run, tiny_tokenizer, str(tiny_folder))
    since = cost(run, tiny_tokenizer)
    assert tax_rows(run)[-1]["tax"] == pytest.approx(whole, abs=1e-6) and abs(whole - since) > 1e-3
    facts = json.loads((run / "tax.json").read_text())
    assert (
        facts["against"] == "untouched"
        and facts["texts"] == 3
        and facts["tokens"] == sum(len(text.encode()) for text in TEXTS)
    )


def test_other_texts_in_the_middle_of_a_run_are_refused(
    go: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert go("run", f"tax.budget={BUDGET}") != 0
    (tmp_path / "own.txt").write_text("Quite another text.", encoding="utf-8")
    assert go("run", f"tax.budget={BUDGET}") == 2
    assert "own.txt has changed since this run began" in capsys.readouterr().err
    (tmp_path / "run" / "run" / "inputs.json").unlink()  # a run folder of an earlier version
    assert go("run", f"tax.budget={BUDGET}") == 2
    assert "tax.json: this run's tax was counted on other texts; restore tax.text" in capsys.readouterr().err
