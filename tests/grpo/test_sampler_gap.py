"""A sampler whose log-probabilities are not the trainer's stops the run before it teaches anything wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import arguments, metrics, quick, write_corpus
from tiny_session import CONFIG, TWO_PASSES, Session, variety
from transformers import PreTrainedTokenizerFast

import grpo.samples
from grpo.config import Config
from grpo.engine.model import parameter_hash
from grpo.engine.sampler import generate
from grpo.records import Rollout
from grpo.run import main
from grpo.step_metrics import SamplerGap

GAP = 0.02  # nats, on one token of the rollout


def wrong(*inputs: object, **settings: object) -> Rollout:
    """A sampler that records one log-probability a little too high."""
    rollout = generate(*inputs, **settings)
    rollout.sampling_logps[1, 0] += GAP
    return rollout


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_one_wrong_log_probability_stops_the_run_before_the_update_it_is_in(
    config: Config, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo.samples, "generate", wrong)
    session = Session(config, tmp_path / "a", tiny_tokenizer, reward=variety)
    before = parameter_hash(session.policy)
    updates = 0
    with pytest.raises(SamplerGap, match=r"differ by up to 0\.02 nats \(limit rollout\.max_gap = 0\.001\)"):
        session.run()
    updates = session.optimizer.update
    assert updates < config.updates_per_step
    assert (parameter_hash(session.policy) == before) == (updates == 0)


@pytest.mark.parametrize(("limit", "stops"), [(0.019, True), (0.021, False)])
def test_the_limit_is_the_users(
    limit: float,
    stops: bool,
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpo.samples, "generate", wrong)
    config = replace(CONFIG, rollout=replace(CONFIG.rollout, max_gap=limit))
    session = Session(config, tmp_path, tiny_tokenizer, reward=variety)
    try:
        session.run()
    except SamplerGap:
        assert stops
    else:
        assert not stops
        assert all(row["ratio_gap_max"] == pytest.approx(GAP, abs=1e-5) for row in session.metrics())
        assert all(0 < row["ratio_gap_mean"] < row["ratio_gap_max"] for row in session.metrics())


def test_the_command_prints_the_gap_each_step_and_ends_with_one_sentence(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    command = [
        *arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, tmp_path / "run", *quick(tiny_folder)),
        "checkpoint.every=1",
    ]
    count = iter(range(100))
    late: Callable = lambda *inputs, **settings: (generate if next(count) < 2 else wrong)(*inputs, **settings)  # noqa: E731
    with monkeypatch.context() as patched:
        patched.setattr(grpo.samples, "generate", late)
        assert main(command) == 1
    printed = capsys.readouterr()
    assert "  gap " in printed.out and "  mean gap " in printed.out
    assert printed.err.count("\n") == 1 and printed.err.startswith("error: the sampler's log-probabilities")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints" / "train").glob("step-*")) == [
        "step-000001",
        "step-000002",
    ]
    assert main(command) == 0  # the next start goes on from step 2
    assert len([row for row in metrics(tmp_path / "run") if row["stage"] == "train"]) == 4
