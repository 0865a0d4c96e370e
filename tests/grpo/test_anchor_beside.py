"""The anchor's texts in the row of an update's last pass: the gradient of passes of their own, from fewer passes."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ragged import IDS
from tiny import flat_gradient, tiny_gpt2
from tiny_run import metrics
from torch import Tensor

from data.stream import PromptStream
from grpo.anchor import Anchor
from grpo.config import OptimConfig, SFTConfig
from grpo.engine import logprob, model_kl
from grpo.engine.packing import Packed, joined_rows, pack
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import device
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.token_loss import Asft, TokenLoss, dft, nll
from grpo.training import Training

PAIRS = [([2, 40], [41, 42, 1]), ([2, 90, 91], [7, 1]), ([2], [100])]
CPU = device.choose("cpu")


class Update(NamedTuple):
    gradient: Tensor
    row: dict[str, Any]
    passes: int


def sft_update(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    is_beside: bool,
    loss: TokenLoss = nll,
    max_tokens: int = 64,
) -> Update:
    """One update of SFT in fp64, with the texts of its anchor in the last pass or in passes of their own."""
    policy = tiny_gpt2(0).double()
    base = tiny_gpt2(1).double().requires_grad_(False)
    anchor = Anchor(base, PromptStream(IDS, 2, 0), [2], 0.7, max_tokens, CPU, SINGLE_PROCESS)
    anchor.shares_a_pass = is_beside
    optimizer = Optimizer(policy, OptimConfig(max_grad_norm=0.0), 2)
    gradients: list[Tensor] = []
    rows: list[Packed] = []
    step = optimizer.step

    def watched_step() -> dict[str, float]:
        gradients.append(flat_gradient(policy))
        return step()

    monkeypatch.setattr(optimizer, "step", watched_step)
    with monkeypatch.context() as patch:
        for module in (logprob, model_kl):
            hidden = module.packed_hidden
            patch.setattr(
                module, "packed_hidden", lambda model, row, run=hidden: rows.append(row) or run(model, row)
            )
        with RunLog(folder, "sft", 0, 1, {}, quiet=True) as log:
            training = Training(policy, optimizer, log, CPU, anchor, token_loss=loss)
            config = SFTConfig(num_steps=1, max_tokens_per_pass=max_tokens)
            train_sft(config, training, PromptStream(PAIRS, 3, 0), LoopState())
    return Update(gradients[0], metrics(folder)[0], len(rows))


@pytest.mark.parametrize("loss", [nll, dft])
@pytest.mark.parametrize(("max_tokens", "passes"), [(64, (2, 1)), (16, (2, 2))])
def test_gradient_and_log_are_those_of_passes_of_their_own(
    loss: TokenLoss, max_tokens: int, passes: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """16 tokens do not hold the texts beside the pairs."""
    apart, beside = (
        sft_update(monkeypatch, tmp_path / str(is_beside), is_beside, loss, max_tokens)
        for is_beside in (False, True)
    )
    assert float((beside.gradient - apart.gradient).norm() / apart.gradient.norm()) < 1e-10
    for name in ("loss", "anchor_kl", "anchor_tokens", "grad_norm"):
        assert beside.row[name] == pytest.approx(apart.row[name], rel=1e-10) and apart.row[name] > 0
    assert (apart.passes, beside.passes) == passes


def test_a_cpu_a_sharded_model_and_a_loss_with_its_own_model_keep_their_passes(tmp_path: Path) -> None:
    base = tiny_gpt2(1)

    def anchor_in(world: World) -> Anchor:
        return Anchor(base, PromptStream(IDS, 2, 0), [2], 0.7, 64, CPU, world)

    anchor = anchor_in(SINGLE_PROCESS)
    assert anchor.beside(0, 10) is None
    anchor.shares_a_pass = True
    assert anchor.beside(0, 10) is not None and anchor.beside(0, 60) is None
    policy = tiny_gpt2(0)
    optimizer = Optimizer(policy, OptimConfig(), 2)
    with RunLog(tmp_path, "sft", 0, 1, {}, quiet=True) as log:
        losses: dict[str, TokenLoss] = {"nll": nll, "asft": Asft(base, 0.1)}
        found = {
            name: Training(policy, optimizer, log, CPU, anchor, token_loss=loss).texts_beside(10)
            for name, loss in losses.items()
        }
    assert found["nll"] is not None and found["asft"] is None


def test_joined_rows_are_the_row_of_both() -> None:
    first = [[5, 6], [7]], [[8, 9, 10], [11]]
    second = [[2], [2]], [[12, 13], [14]]
    both = joined_rows(pack(*first, 1), pack(*second, 1))
    whole = pack(first[0] + second[0], first[1] + second[1], 1)
    for name in ("input_ids", "position_ids", "group_ids", "segment_ids", "source", "targets"):
        assert torch.equal(getattr(both, name), getattr(whole, name))
