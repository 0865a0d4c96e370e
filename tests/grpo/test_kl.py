"""KL estimators by enumeration: values, expected gradients, extremes; the controller by hand."""

import math

import pytest
import torch
from tiny import Make, tiny_gemma, tiny_llama
from torch import Tensor
from transformers import PreTrainedModel

from data.cache import cache_dir
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy, load_policy
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, use_format
from grpo.engine.sampler import Sampling, generate
from grpo.kl import KL_ESTIMATORS, kl_k2, kl_k3, kl_term, next_kl_coef
from grpo.loss import Bounds, grpo_loss, token_weights
from grpo.minibatch import score

REFERENCE = torch.tensor([0.3, -0.2, 0.9, 0.1, -1.0], dtype=torch.float64).log_softmax(0)
OLD = torch.tensor([0.1, 0.6, -0.5, 0.0, 0.3], dtype=torch.float64).log_softmax(0)


def logits() -> Tensor:
    return torch.tensor([0.5, 0.4, -0.3, 0.2, 0.0], dtype=torch.float64, requires_grad=True)


def test_values_by_enumeration() -> None:
    """Over all five outcomes E[k1] = E[k3] = KL(pi || ref) to 1e-12; times the ratio, the same under samples
    of another policy.
    """
    policy = logits().detach().log_softmax(0)
    exact = (policy.exp() * (policy - REFERENCE)).sum()
    for name, (_, weighted) in KL_ESTIMATORS.items():
        sampled_by = OLD if weighted else policy
        value = (sampled_by.exp() * kl_term(policy - REFERENCE, (policy - sampled_by).exp(), name)).sum()
        assert name == "k2" or abs(value - exact) < 1e-12


@pytest.mark.parametrize(
    ("name", "kind"),
    [("k1", "none"), ("k2", "reverse"), ("k3", "forward"), ("k1_ratio", "reverse"), ("k3_ratio", "reverse")],
)
def test_expected_gradients_by_enumeration(name: str, kind: str) -> None:
    """Under samples of the policy itself; the closed forms are of no divergence, the reverse and the forward
    KL.
    """
    start = logits()
    policy = start.log_softmax(0)
    term = kl_term(policy - REFERENCE, (policy - policy.detach()).exp(), name)
    expected = torch.autograd.grad((policy.exp().detach() * term).sum(), start)[0]
    policy = start.log_softmax(0)
    closed = {
        "none": 0.0 * start.sum(),
        "reverse": (policy.exp() * (policy - REFERENCE)).sum(),
        "forward": (REFERENCE.exp() * (REFERENCE - policy)).sum(),
    }[kind]
    assert (expected - torch.autograd.grad(closed, start)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["k1_ratio", "k3_ratio"])
def test_times_the_ratio_it_is_the_reverse_kl_after_the_policy_has_moved(name: str) -> None:
    """Samples of an older policy: the exact gradient of KL(pi || ref) all the same. Without the ratio it is
    another one.
    """
    start = logits()
    policy = start.log_softmax(0)
    exact = torch.autograd.grad((policy.exp() * (policy - REFERENCE)).sum(), start)[0]
    gradients = {}
    for estimator in (name, name.removesuffix("_ratio")):
        policy = start.log_softmax(0)
        term = kl_term(policy - REFERENCE, (policy - OLD).exp(), estimator)
        gradients[estimator] = torch.autograd.grad((OLD.exp() * term).sum(), start)[0]
    assert (gradients.pop(name) - exact).abs().max() < 1e-12
    assert (gradients.popitem()[1] - exact).abs().max() > 1e-2


def test_k2_and_k3_are_never_negative_in_fp32() -> None:
    """A million log ratios of 1e-6 to 1; `exp(d) - 1 - d` reaches -6e-8 there."""
    generator = torch.Generator().manual_seed(0)
    size = 10 ** (-6 * torch.rand(1_000_000, generator=generator))
    values = size * torch.where(torch.rand(1_000_000, generator=generator) < 0.5, -1, 1)
    assert (values.neg().exp() - 1 + values).min() < 0
    assert kl_k3(values).min() >= 0
    assert kl_k2(values).min() >= 0


@pytest.mark.parametrize("name", KL_ESTIMATORS)
@pytest.mark.parametrize("log_ratio", [-80.0, -15.0, 15.0, 80.0])
def test_gradient_neither_vanishes_nor_overflows(name: str, log_ratio: float) -> None:
    """Past bug: continuing k3's exponential by adding a line to it lost the gradient's -1 beside 4.9e8 in
    fp32.
    """
    policy = torch.tensor([[log_ratio]], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    settings = {"bounds": Bounds(0.2, 0.2), "kl_coef": 1.0, "kl_estimator": name}
    grpo_loss(
        policy, None, torch.zeros(1, 1), torch.zeros(1), mask, token_weights(mask, "token"), **settings
    )[0].backward()
    assert math.isfinite(policy.grad.item())
    assert abs(policy.grad.item()) > 0.5


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("name", [*FORMATS])
def test_kl_is_exactly_zero_at_the_reference(make: Make, name: str) -> None:
    """Step 0: the policy's log-probs, with gradient, and its frozen copy's, without, are bit-equal."""
    assert_zero_at_reference(make(), name)


@pytest.mark.real
@pytest.mark.parametrize("name", [*FORMATS])
def test_kl_of_the_default_model_is_exactly_zero_at_the_reference(name: str) -> None:
    folder = cache_dir() / "models" / "gemma-3-270m-trimmed"
    if not folder.is_dir():
        pytest.skip("the default model is not in the cache; run `make sft` first")
    assert_zero_at_reference(load_policy(folder, torch.device("cpu")), name)


def assert_zero_at_reference(policy: PreTrainedModel, name: str) -> None:
    use_format(policy, FORMATS[name])
    reference = frozen_copy(policy)
    prompts = [[2, 40, 41, 42, 43, 44, 45, 46, 47, 48], [2, 90], [2, 60, 61]]
    rollout = generate(policy, prompts, Sampling(4, 12, 1.0, (1, *range(10, 60))), seed=(0,))
    ours = completion_logps(policy, pack(prompts, rollout.completions(), 4, width=12)).logps
    theirs = score(reference, rollout, 1.0, max_tokens=10_000)
    assert ours.requires_grad
    assert torch.equal(kl_k3(ours.detach() - theirs), torch.zeros_like(theirs))


def test_controller_by_hand() -> None:
    assert next_kl_coef(0.05, kl=0.03, target=0.02) == pytest.approx(0.05 * 1.02)  # error .5, seen as .2
    assert next_kl_coef(0.05, kl=0.021, target=0.02) == pytest.approx(0.05 * 1.005)
    assert next_kl_coef(0.05, kl=0.0, target=0.02) == pytest.approx(0.05 * 0.98)
    assert next_kl_coef(0.05, kl=7.0, target=0.0) == 0.05
    assert next_kl_coef(0.05, kl=math.nan, target=0.02) == 0.05
