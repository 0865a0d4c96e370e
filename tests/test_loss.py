"""The loss against closed forms, a truth table, finite differences and TRL's own numbers."""

import math

import pytest
import torch
from torch import Tensor

from grpo.loss import KL_ESTIMATORS, clipped_surrogate, grpo_loss, kl_k3, token_weights

ROWS, COLUMNS = torch.arange(4)[:, None], torch.arange(6)[None]
LENGTHS = torch.tensor([6, 4, 2, 5])
MASK = LENGTHS[:, None] > COLUMNS


def golden_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """fp64 log-probs (policy, old, reference) and advantages of the fixture made with TRL 1.16.0's `_compute_loss`."""
    logps = -(0.3 + 0.17 * ((3 * ROWS + 5 * COLUMNS) % 7).double())
    old = logps + 0.21 * (((2 * ROWS + 3 * COLUMNS) % 5) - 2).double()
    ref = logps + 0.13 * (((ROWS + 4 * COLUMNS) % 5) - 2).double()
    rewards = torch.tensor([0.9, 0.2, 0.6, 0.1], dtype=torch.float64)
    return logps, old, ref, (rewards - rewards.mean()) / (rewards.std() + 1e-4)


def loss_and_norm(aggregation: str, kl_coef: float, width: int | None = None) -> tuple[float, float]:
    logps, old, ref, advantages = golden_inputs()
    logps.requires_grad_()
    lengths = MASK.sum(dim=1, keepdim=True).double()
    weights = {  # fp64 twins of token_weights, so that nine digits can be compared
        "sequence": MASK / (4 * lengths),
        "token": MASK / MASK.sum().double(),
        "constant": MASK / (4.0 * (width or 6)),
    }[aggregation]
    assert torch.allclose(weights.float() * ((width or 6) / 6 if aggregation == "constant" else 1), token_weights(MASK, aggregation))
    loss, _ = grpo_loss(logps, old, ref, advantages, MASK, weights, clip_low=0.2, clip_high=0.28, kl_coef=kl_coef)
    loss.backward()
    return loss.item(), logps.grad.norm().item()


@pytest.mark.parametrize(
    ("aggregation", "kl_coef", "width", "value", "norm"),
    [
        ("sequence", 0.0, None, 0.045396681, 0.187305760),
        ("sequence", 0.04, None, 0.046012495, 0.187341522),
        ("token", 0.04, None, -0.006691522, 0.212501690),
        ("token", 0.0, None, -0.007382966, 0.212234408),
        ("constant", 0.04, 8, -0.003554871, 0.112891523),
    ],
)
def test_golden_values_of_trl(aggregation: str, kl_coef: float, width: int | None, value: float, norm: float) -> None:
    loss, gradient_norm = loss_and_norm(aggregation, kl_coef, width)
    assert loss == pytest.approx(value, abs=1e-9)
    assert gradient_norm == pytest.approx(norm, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "gain_of_good", "gain_of_bad"),
    [(0.5, 0.5, 0.0), (0.79, 0.79, 0.0), (1.0, 1.0, -1.0), (1.27, 1.27, -1.27), (1.29, 0.0, -1.29), (1.5, 0.0, -1.5), (4.0, 0.0, -4.0)],
)
def test_clip_truth_table(ratio: float, gain_of_good: float, gain_of_bad: float) -> None:
    for advantage, expected in ((1.0, gain_of_good), (-1.0, gain_of_bad)):
        log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
        objective, clipped = clipped_surrogate(log_ratio, torch.tensor([advantage], dtype=torch.float64), 0.2, 0.28)
        objective.sum().backward()
        assert log_ratio.grad.item() == pytest.approx(expected, abs=1e-12)
        assert clipped.item() == (expected == 0.0)


def test_first_update_is_reinforce() -> None:
    """old = None: the ratio is exactly 1, nothing is clipped, and the gradient is -w A."""
    logps, _, ref, advantages = golden_inputs()
    logps.requires_grad_()
    weights = token_weights(MASK, "token").double()
    loss, stats = grpo_loss(logps, None, ref, advantages, MASK, weights, clip_low=0.2, clip_high=0.2, kl_coef=0.0)
    loss.backward()
    assert torch.allclose(logps.grad, -weights * advantages[:, None], atol=1e-15)
    assert stats["clip_share"] == (0.0, 17.0)
    assert stats["ratio_mean"] == (17.0, 17.0)


@pytest.mark.parametrize("aggregation", ["sequence", "token", "constant"])
@pytest.mark.parametrize("parts", [[[0, 1], [2, 3]], [[0], [1], [2], [3]], [[0, 1, 2], [3]]])
def test_micro_batches_add_up_to_the_whole(aggregation: str, parts: list[list[int]]) -> None:
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, aggregation).double()
    settings = {"clip_low": 0.2, "clip_high": 0.28, "kl_coef": 0.04}
    whole, split = logps.clone().requires_grad_(), logps.clone().requires_grad_()
    grpo_loss(whole, old, ref, advantages, MASK, weights, **settings)[0].backward()
    for part in parts:
        grpo_loss(split[part], old[part], ref[part], advantages[part], MASK[part], weights[part], **settings)[0].backward()
    assert torch.allclose(whole.grad, split.grad, atol=1e-14)


def test_garbage_under_the_mask_changes_nothing() -> None:
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, "sequence").double()
    results = []
    for garbage in (0.0, math.inf, -math.inf, math.nan):
        dirty = logps.masked_fill(~MASK, garbage).requires_grad_()
        loss, _ = grpo_loss(
            dirty,
            old.masked_fill(~MASK, garbage),
            ref.masked_fill(~MASK, -garbage),
            advantages,
            MASK,
            weights,
            clip_low=0.2,
            clip_high=0.28,
            kl_coef=0.04,
        )
        loss.backward()
        results.append((loss.item(), dirty.grad))
    for value, gradient in results[1:]:
        assert value == results[0][0]
        assert torch.equal(gradient, results[0][1])


def distribution(logits: Tensor) -> tuple[Tensor, Tensor]:
    reference = torch.tensor([0.3, -0.2, 0.9, 0.1, -1.0], dtype=torch.float64).log_softmax(0)
    return logits.log_softmax(0), reference


def test_kl_values_by_enumeration() -> None:
    """Over all five outcomes, E[k1] = E[k3] = KL(pi || ref) to 1e-12."""
    policy, reference = distribution(torch.tensor([0.5, 0.4, -0.3, 0.2, 0.0], dtype=torch.float64))
    exact = (policy.exp() * (policy - reference)).sum()
    for name in ("k1", "k3"):
        assert torch.allclose((policy.exp() * KL_ESTIMATORS[name](policy - reference)).sum(), exact, atol=1e-12)


@pytest.mark.parametrize(("name", "kind"), [("k1", "zero"), ("k2", "reverse"), ("k3", "forward")])
def test_kl_expected_gradients_by_enumeration(name: str, kind: str) -> None:
    """The estimator in a loss: its expected gradient under samples of the policy, against the closed form."""
    logits = torch.tensor([0.5, 0.4, -0.3, 0.2, 0.0], dtype=torch.float64, requires_grad=True)
    policy, reference = distribution(logits)
    expected = torch.autograd.grad((policy.exp().detach() * KL_ESTIMATORS[name](policy - reference)).sum(), logits)[0]
    policy, reference = distribution(logits)
    closed = {
        "zero": 0.0 * logits.sum(),
        "reverse": (policy.exp() * (policy - reference)).sum(),
        "forward": (reference.exp() * (reference - policy)).sum(),
    }[kind]
    assert torch.allclose(expected, torch.autograd.grad(closed, logits)[0], atol=1e-12)


def test_k3_is_never_negative_in_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    size = 10 ** (-6 * torch.rand(1_000_000, generator=generator))
    assert kl_k3(size * torch.where(torch.rand(1_000_000, generator=generator) < 0.5, -1, 1)).min() >= 0


@pytest.mark.parametrize("log_ratio", [-80.0, -15.0, 15.0, 80.0])
def test_k3_gradient_neither_vanishes_nor_overflows(log_ratio: float) -> None:
    """Obituary: continuing the exponential by adding a line to it lost the gradient's -1 beside 4.9e8 in fp32."""
    value = torch.tensor(log_ratio, requires_grad=True)
    kl_k3(value).backward()
    assert math.isfinite(value.grad.item())
    assert abs(value.grad.item()) > 0.5


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_finite_differences(estimator: str) -> None:
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, "sequence").double()

    def value(x: Tensor) -> Tensor:
        return grpo_loss(x, old, ref, advantages, MASK, weights, clip_low=0.2, clip_high=0.28, kl_coef=0.3, kl_estimator=estimator)[0]

    assert torch.autograd.gradcheck(value, (logps.requires_grad_(),), eps=1e-6, atol=1e-9)


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
def test_weights_of_an_update_add_up_to_one(aggregation: str) -> None:
    assert token_weights(MASK, aggregation).sum().item() == pytest.approx(1.0, abs=1e-6)


def test_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="known values: sequence, token, constant"):
        token_weights(MASK, "mean")
