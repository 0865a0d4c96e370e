"""An accelerator is waited for once an update, whatever the number of its forward passes, and never between
sampling and reward.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packed_rows import dense_kernel
from tiny import tiny_gemma
from tiny_session import CONFIG, Session, variety
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from data.stream import PromptStream
from grpo import loop, sft
from grpo.anchor import Anchor
from grpo.config import SFTConfig
from grpo.engine import groups
from grpo.engine.attention import GROUPS, use_blocks
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import device
from grpo.runtime.parallel import SINGLE_PROCESS
from grpo.runtime.run_log import RunLog
from grpo.training import Training


class Reads(TorchDispatchMode):
    """Counts what would wait for a device: a tensor's value as a number of Python."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def grouped_gemma(seed: int = 0) -> Any:
    """With the attention of an accelerator."""
    model = tiny_gemma(seed)
    use_blocks(model, GROUPS)
    return model


@pytest.fixture(autouse=True)
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "kernel", lambda _device: dense_kernel)


def test_reads_are_seen() -> None:
    with Reads() as reads:
        assert float(torch.ones(3).sum()) == 3 and bool(torch.ones(()) > 0)
    assert reads.count == 2


@pytest.mark.parametrize(("tokens", "count"), [(1, 4), (100_000, 1)])
def test_passes_of_an_update_read_nothing(
    tokens: int,
    count: int,
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    passes: list[object] = []
    accumulate = loop.accumulate
    completion_logps = loop.completion_logps

    def counted(*inputs: Any) -> None:
        with Reads() as reads:
            accumulate(*inputs)
        counts.append(reads.count)

    monkeypatch.setattr(loop, "accumulate", counted)
    monkeypatch.setattr(
        loop, "completion_logps", lambda *inputs: passes.append(1) or completion_logps(*inputs)
    )
    config = replace(CONFIG, train=replace(CONFIG.train, num_steps=1, max_tokens_per_pass=tokens))
    session = Session(config, tmp_path, tiny_tokenizer, reward=variety, policy=grouped_gemma())
    session.run()
    assert counts == [0]  # what is read at the end is a list, once
    assert len(passes) == count


def test_the_reward_comes_after_the_scores_have_been_asked_for(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    score = loop.score

    def watched(*inputs: Any, **settings: Any) -> torch.Tensor:
        with Reads() as reads:
            result = score(*inputs, **settings)
        order.append(f"score {reads.count}")
        return result

    def reward(sources: Sequence[str], *others: Any) -> Any:
        order.append("reward")
        return variety(sources, *others)

    monkeypatch.setattr(loop, "score", watched)
    config = replace(CONFIG, train=replace(CONFIG.train, num_steps=1))
    Session(config, tmp_path, tiny_tokenizer, reward=reward, policy=grouped_gemma()).run()
    assert order == ["score 0", "reward"]


def test_passes_of_sft_and_its_anchor_read_nothing(tmp_path: Path) -> None:
    policy = grouped_gemma()
    texts = PromptStream([[40, 41, 42], [50, 51], [60] * 9], 3, 0)
    compute = device.choose("cpu")
    anchor = Anchor(grouped_gemma(1), texts, [2], 1.0, 8, compute, SINGLE_PROCESS)
    optimizer = Optimizer(policy, SFTConfig().optim, 1)
    counts = []
    step = optimizer.step

    def counted_step() -> dict[str, float]:
        counts.append(reads.count)
        return step()

    optimizer.step = counted_step  # type: ignore[method-assign]
    pairs = PromptStream([([3, 4, 5], [6, 7, 1])] * 5, 5, 0)
    with RunLog(tmp_path, "sft", 0, 1, {}, quiet=True) as log, Reads() as reads:
        training = Training(policy, optimizer, log, compute, anchor)
        sft.train_sft(SFTConfig(num_steps=1, max_tokens_per_pass=10), training, pairs, LoopState())
    assert counts == [0]
