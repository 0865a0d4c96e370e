"""A run that is stopped anywhere and resumed by fresh objects is bit-equal to one that was not: between two
steps, between two updates of a step, and in the warm start."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_gemma
from tiny_session import TWO_PASSES, Session, variety
from transformers import PreTrainedTokenizerFast

from data.stream import PromptStream
from grpo.config import LossConfig, OptimConfig, SFTConfig
from grpo.engine.model import parameter_hash
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint, device
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.training import Training

CONFIG = replace(
    TWO_PASSES,
    train=replace(
        TWO_PASSES.train,
        num_steps=4,
        optim=OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=3, weight_decay=0.01),
    ),
    loss=LossConfig(kl_coef=0.02, kl_estimator="k3_ratio", kl_target=0.001),
)
PLACES = [(step, update) for step in range(4) for update in range(4) if (step, update) > (0, 0)]


def everything(session: Session) -> dict[str, object]:
    """Parameters, moments, counters, log and samples of a finished session."""
    optimizer = session.optimizer
    return {
        "policy": parameter_hash(session.policy),
        "moments": moments(optimizer),
        "counters": (optimizer.update, optimizer.skipped, optimizer.skipped_in_a_row),
        "rows": json.dumps(session.metrics()),
        "samples": hashlib.sha256((session.folder / "rollouts.jsonl").read_bytes()).hexdigest(),
    }


def moments(optimizer: Optimizer) -> list[list[float]]:
    states = optimizer.moments().values()
    return [value.flatten().tolist() for state in states for _, value in sorted(state.items())]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> dict[str, object]:
    session = Session(CONFIG, tmp_path_factory.mktemp("whole"), tiny_tokenizer, reward=variety)
    session.run()
    return everything(session)


@pytest.mark.parametrize(("step", "update"), PLACES)
def test_grpo_resumes_bit_equal_after_every_update(
    step: int, update: int, whole: dict[str, object], tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """mu = 2, four updates a step, a schedule, an adaptive KL coefficient: each is in the checkpoint or a
    function of (seed, step).
    """
    first = Session(CONFIG, tmp_path, tiny_tokenizer, reward=variety)
    stopped = first.run(step, update)
    assert (stopped.step, stopped.update, bool(stopped.tensors)) == (step, update, update > 0)
    second = first.resumed()
    assert second.state.kl_coef == stopped.kl_coef != CONFIG.loss.kl_coef or step == 0
    second.run()
    assert everything(second) == whole


def test_stopped_again_and_again_it_is_still_bit_equal(
    whole: dict[str, object], tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """One update a process: fifteen restarts."""
    for place in [*PLACES, (None, 0)]:
        session = Session(CONFIG, tmp_path, tiny_tokenizer, reward=variety)
        if place != PLACES[0]:
            session.resume()
        session.run(*place)
    assert everything(session) == whole


def sft(folder: Path, stop_at: int | None) -> tuple[str, list, list[dict]]:
    """SFT of 6 steps, resumed where a checkpoint is."""
    policy = tiny_gemma()
    config = SFTConfig(
        num_steps=6, batch_size=3, max_tokens_per_pass=12, optim=OptimConfig(lr=1e-3, schedule="linear")
    )
    optimizer = Optimizer(policy, config.optim, config.num_steps)
    state = LoopState()
    for path in checkpoint.checkpoints(folder / "checkpoints"):
        state = checkpoint.restore(path, policy, optimizer)
    pairs = PromptStream([([2, 40 + i], [50 + i, 60, 1][i % 2 :]) for i in range(10)], config.batch_size, 0)

    def save(state: LoopState) -> bool:
        if state.step == stop_at:
            checkpoint.save(folder / "checkpoints", policy, optimizer, state, keep=1)
        return state.step == stop_at

    with RunLog(folder, "sft", state.step, config.num_steps, {}, quiet=True) as log:
        training = Training(policy, optimizer, log, device.choose("cpu"), after_update=save)
        train_sft(config, training, pairs, state)
        rows = [{key: row[key] for key in ("step", "loss", "grad_norm", "lr", "tokens")} for row in log.rows]
    return parameter_hash(policy), moments(optimizer), rows


@pytest.mark.parametrize("stop_at", range(1, 6))
def test_sft_resumes_bit_equal_after_every_step(stop_at: int, tmp_path: Path) -> None:
    sft(tmp_path / "parts", stop_at)
    assert sft(tmp_path / "parts", None) == sft(tmp_path / "whole", None)
