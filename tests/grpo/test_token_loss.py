"""The losses of a token: values and gradients against a dense softmax, where weights are constants."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import capped_gemma, flat_gradient, tiny_gemma, tiny_gpt2, tiny_llama
from torch import Tensor

from grpo.engine import chunked_head
from grpo.engine.packing import pack
from grpo.token_loss import Asft, TokenLoss, dft, dft_of, nll

PROMPTS = [[2, 40], [2], [2, 90, 91]]
TARGETS = [[41, 42, 43, 44, 40, 41, 1], [100, 1], [7]]


def dense(model: Any, prompt: list[int], target: list[int]) -> Tensor:
    """(T, V) log-probabilities of a row alone."""
    logits = model(input_ids=torch.tensor([[*prompt, *target]])).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


def expected_loss(policy: Any, base: Any, name: str, kl_coef: float) -> tuple[Tensor, float, float]:
    """Loss, NLL and KL, each a sum over the tokens."""
    loss = torch.zeros((), dtype=torch.float64)
    sums = [0.0, 0.0]
    for prompt, target in zip(PROMPTS, TARGETS, strict=True):
        all_logps = dense(policy, prompt, target)
        theirs = dense(base, prompt, target).detach()
        own = all_logps.gather(1, torch.tensor(target)[:, None])[:, 0]
        weight = torch.tensor([float(one) for one in own.detach().exp()]) if name != "nll" else 1.0
        divergence = (theirs.exp() * (theirs - all_logps)).sum()
        loss = loss - (weight * own).sum() + (kl_coef * divergence if name == "asft" else 0.0)
        sums[0] -= float(own.detach().sum())
        sums[1] += float(divergence.detach())
    return loss, sums[0], sums[1]


@pytest.mark.parametrize("name", ["nll", "dft", "asft"])
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2, capped_gemma])
def test_value_and_gradient_are_those_of_a_dense_softmax(
    make: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_head, "KL_CHUNK", 4)  # two chunks and a part
    policy, same = (make(seed=0).double() for _ in range(2))
    base = make(seed=1).double().requires_grad_(False)
    losses: dict[str, TokenLoss] = {"nll": nll, "dft": dft, "asft": Asft(base, 0.3)}
    loss, sums = losses[name](policy, pack(PROMPTS, TARGETS, 1))
    expected, likelihood, divergence = expected_loss(same, base, name, 0.3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(sums["loss"]) == pytest.approx(likelihood, rel=1e-5)
    assert float(sums.get("base_kl", torch.tensor(divergence))) == pytest.approx(divergence, rel=1e-5)
    assert not any(value.requires_grad for value in sums.values())
    loss.backward()
    expected.backward()
    assert torch.allclose(flat_gradient(policy), flat_gradient(same), rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in base.parameters())


def test_a_token_weighs_its_probability() -> None:
    """By hand: p = .5 and .125; the slope of a token is -p, where that of the NLL is -1."""
    logps = torch.tensor([0.5, 0.125, 1.0], dtype=torch.float64).log().requires_grad_(True)
    loss = dft_of(logps)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * 0.693147 + 0.125 * 2.079442, abs=1e-6)
    assert logps.grad is not None and logps.grad.tolist() == pytest.approx([-0.5, -0.125, -1.0])


def test_at_the_base_asft_is_dft() -> None:
    policy = tiny_gpt2().double()
    loss, sums = Asft(tiny_gpt2().double(), 5.0)(policy, pack(PROMPTS, TARGETS, 1))
    plain, _ = dft(policy, pack(PROMPTS, TARGETS, 1))
    assert float(sums["base_kl"]) == pytest.approx(0, abs=1e-9)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-9)
