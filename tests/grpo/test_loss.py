"""The loss against TRL's own numbers, a truth table, closed forms and finite differences, for every
objective.
"""

import math

import pytest
import torch
from golden import MASK, golden_inputs
from tiny import tiny_gemma, tiny_gpt2
from torch import Tensor
from torch.nn.functional import pad

from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.kl import KL_ESTIMATORS
from grpo.loss import OBJECTIVES, Bounds, grpo_loss, ppo_clip, sampler_weights, token_weights

CLIP = Bounds(0.2, 0.28)
EVERY_OBJECTIVE = [(name, Bounds(0.2, 4.0) if name == "cispo" else CLIP) for name in OBJECTIVES] + [
    ("dapo", Bounds(0.2, 0.28, 1.4))
]
every_objective = pytest.mark.parametrize(("objective", "bounds"), EVERY_OBJECTIVE)


def loss_of(
    logps: Tensor,
    objective: str = "grpo",
    bounds: Bounds = CLIP,
    kl_coef: float = 0.04,
    kl_estimator: str = "k3",
    columns: int = 0,
) -> Tensor:
    """Loss of the golden inputs at other policy log-probs, with `columns` more columns of padding."""
    _, old, ref, advantages = golden_inputs()
    mask, old, ref = (pad(values, (0, columns)) for values in (MASK, old, ref))
    weights = token_weights(mask, OBJECTIVES[objective].aggregation)
    settings = {"objective": objective, "bounds": bounds, "kl_coef": kl_coef, "kl_estimator": kl_estimator}
    return grpo_loss(logps, old, ref, advantages, mask, weights, **settings)[0]


@pytest.mark.parametrize(
    ("objective", "bounds", "kl_coef", "kl_estimator", "columns", "value", "norm"),
    [
        ("grpo", CLIP, 0.0, "k3", 0, 0.045396681, 0.187305760),
        ("grpo", CLIP, 0.04, "k3", 0, 0.046012495, 0.187341522),
        ("grpo", CLIP, 0.04, "k3_ratio", 0, 0.046109041, 0.187636722),
        ("bnpo", CLIP, 0.04, "k3", 0, -0.006691522, 0.212501690),
        ("dapo", CLIP, 0.0, "k3", 0, -0.007382966, 0.212234408),
        ("dapo", Bounds(0.2, 0.28, dual=1.4), 0.0, "k3", 0, -0.019023597, 0.184931307),
        ("dr_grpo", CLIP, 0.04, "k3", 2, -0.003554871, 0.112891523),
        ("gspo", CLIP, 0.0, "k3", 0, 0.015861489, 0.202809240),
        ("cispo", Bounds(0.2, 4.0), 0.0, "k3", 0, 0.078286939, 0.264803575),
        ("sapo", CLIP, 0.0, "k3", 0, -0.024692272, 0.211234708),
    ],
)
def test_golden_values_of_trl(
    objective: str, bounds: Bounds, kl_coef: float, kl_estimator: str, columns: int, value: float, norm: float
) -> None:
    logps = pad(golden_inputs()[0], (0, columns)).requires_grad_()
    loss = loss_of(logps, objective, bounds, kl_coef, kl_estimator, columns)
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-9)
    assert logps.grad.norm().item() == pytest.approx(norm, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "good", "bad", "bad_with_dual_clip"),
    [
        (0.5, 0.5, 0.0, 0.0),
        (0.79, 0.79, 0.0, 0.0),
        (1.0, 1.0, -1.0, -1.0),
        (1.27, 1.27, -1.27, -1.27),
        (1.29, 0.0, -1.29, -1.29),
        (1.5, 0.0, -1.5, -1.5),
        (4.0, 0.0, -4.0, 0.0),
    ],
)
def test_clip_truth_table(ratio: float, good: float, bad: float, bad_with_dual_clip: float) -> None:
    """d objective / d log-prob for clip ranges .2 and .28, and c = 3; the log says exactly where the gradient
    is gone.
    """
    for advantage, dual, expected in (
        (1.0, 0.0, good),
        (-1.0, 0.0, bad),
        (1.0, 3.0, good),
        (-1.0, 3.0, bad_with_dual_clip),
    ):
        log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
        weight = torch.tensor([[advantage]], dtype=torch.float64)
        objective, stopped = ppo_clip(log_ratio, log_ratio.exp(), weight, Bounds(0.2, 0.28, dual))
        objective.sum().backward()
        assert log_ratio.grad.item() == pytest.approx(expected, abs=1e-12)
        assert stopped.item() == (expected == 0.0)


@pytest.mark.parametrize(
    ("ratio", "dual", "good", "bad"), [(0.8, 0, 1, 1), (1.28, 0, 1, 1), (3.0, 3.0, 0, 1)]
)
def test_boundaries_belong_to_the_clip_range(ratio: float, dual: float, good: int, bad: int) -> None:
    """On 1 - low, 1 + high and c themselves the objective is still ratio x A for both signs where the range
    allows it.
    """
    for advantage, kept in ((1.0, good), (-1.0, bad)):
        weight = torch.tensor([[advantage]], dtype=torch.float64)
        objective, stopped = ppo_clip(
            torch.zeros(1, 1), torch.tensor([[ratio]], dtype=torch.float64), weight, Bounds(0.2, 0.28, dual)
        )
        assert objective.item() == pytest.approx(ratio * advantage if kept else 1.28, abs=1e-15)
        assert stopped.item() == (not kept)


@every_objective
def test_first_update_has_a_ratio_of_exactly_one_and_is_reinforce(objective: str, bounds: Bounds) -> None:
    """old = None: nothing is clipped and the gradient is -w A, also where the clip, the gate or the
    truncation is another.
    """
    logps, _, ref, advantages = golden_inputs()
    logps.requires_grad_()
    weights = token_weights(MASK, OBJECTIVES[objective].aggregation)
    loss, stats = grpo_loss(
        logps, None, ref, advantages, MASK, weights, objective=objective, bounds=bounds, kl_coef=0.0
    )
    loss.backward()
    expected = -weights * advantages[:, None]
    assert (logps.grad - expected).norm() / expected.norm() < 1e-12
    assert stats["clip_share"] == (0.0, 17.0)
    assert stats["ratio_mean"] == (17.0, 17.0)


def test_first_update_of_a_model_is_reinforce() -> None:
    """Through packing, chunked head and loss: the gradient of -mean(A log pi) through the model's plain
    forward pass, to 1e-5.
    """
    prompts = [[2, 40, 41, 42], [2, 60]]
    completions = [[5, 6, 7, 1], [8, 1], [9, 9, 9], [33]]
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    model = tiny_gemma()
    other = tiny_gemma()
    logps = completion_logps(model, pack(prompts, completions, 2)).logps
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1])[:, None]
    weights = token_weights(mask, "token")
    grpo_loss(logps, None, logps.detach(), advantages, mask, weights, bounds=CLIP, kl_coef=0.0)[0].backward()
    plain = []
    for row, completion in enumerate(completions):
        prompt = prompts[row // 2]
        ids = torch.tensor([prompt + completion])
        all_logps = other(input_ids=ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
        plain.append(advantages[row] * all_logps.gather(1, ids[0, len(prompt) :, None]).sum())
    (-sum(plain) / 10).backward()
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-5 * b.grad.norm(), name


@every_objective
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0], [1], [2], [3]], [[0, 1, 2], [3]]])
def test_micro_batches_add_up_to_the_whole(objective: str, bounds: Bounds, parts: list[list[int]]) -> None:
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, OBJECTIVES[objective].aggregation)
    settings = {"objective": objective, "bounds": bounds, "kl_coef": 0.04}
    whole = logps.clone().requires_grad_()
    split = logps.clone().requires_grad_()
    grpo_loss(whole, old, ref, advantages, MASK, weights, **settings)[0].backward()
    for part in parts:
        inputs = (values[part] for values in (split, old, ref, advantages, MASK, weights))
        grpo_loss(*inputs, **settings)[0].backward()
    assert (whole.grad - split.grad).abs().max() < 1e-12


@every_objective
def test_padding_amount_changes_nothing(objective: str, bounds: Bounds) -> None:
    """0, 1 or 17 columns of padding; what a constant length divides by is a number of its own and stays."""
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, OBJECTIVES[objective].aggregation)
    results = []
    for columns in (0, 1, 17):
        wide, *logps_of, mask, new = (
            pad(values, (0, columns)) for values in (logps, old, ref, MASK, weights)
        )
        wide.requires_grad_()
        settings = {"objective": objective, "bounds": bounds, "kl_coef": 0.04}
        loss, _ = grpo_loss(wide, *logps_of, advantages, mask, new, **settings)
        loss.backward()
        results.append((loss.item(), wide.grad[:, :6]))
        if OBJECTIVES[objective].aggregation != "constant":
            assert torch.equal(token_weights(mask, OBJECTIVES[objective].aggregation)[:, :6], weights)
    for value, gradient in results[1:]:
        assert abs(value - results[0][0]) < 1e-14
        assert (gradient - results[0][1]).abs().max() < 1e-14


@every_objective
def test_garbage_under_the_mask_changes_nothing(objective: str, bounds: Bounds) -> None:
    logps, old, ref, advantages = golden_inputs()
    weights = token_weights(MASK, OBJECTIVES[objective].aggregation)
    results = []
    for garbage in (0.0, math.inf, -math.inf, math.nan):
        dirty = logps.masked_fill(~MASK, garbage).requires_grad_()
        others = old.masked_fill(~MASK, garbage), ref.masked_fill(~MASK, -garbage)
        settings = {"objective": objective, "bounds": bounds, "kl_coef": 0.04, "kl_estimator": "k3_ratio"}
        loss, stats = grpo_loss(dirty, *others, advantages, MASK, weights, **settings)
        loss.backward()
        results.append((loss.item(), stats, dirty.grad))
        assert math.isfinite(loss.item())
    for value, stats, gradient in results[1:]:
        assert (value, stats) == results[0][:2]
        assert torch.equal(gradient, results[0][2])


@every_objective
def test_order_of_completions_changes_nothing(objective: str, bounds: Bounds) -> None:
    logps, old, ref, advantages = golden_inputs()
    order = torch.tensor([2, 0, 3, 1])
    values = []
    for rows in (torch.arange(4), order):
        weights = token_weights(MASK[rows], OBJECTIVES[objective].aggregation)
        inputs = (logps[rows], old[rows], ref[rows], advantages[rows], MASK[rows], weights)
        values.append(grpo_loss(*inputs, objective=objective, bounds=bounds, kl_coef=0.04)[0].item())
    assert abs(values[0] - values[1]) < 1e-12


@pytest.mark.parametrize(("objective", "bounds"), [pair for pair in EVERY_OBJECTIVE if pair[0] != "cispo"])
@pytest.mark.parametrize("kl_estimator", KL_ESTIMATORS)
def test_finite_differences(objective: str, bounds: Bounds, kl_estimator: str) -> None:
    """Of the loss as a function of the log-probs; cispo's weight is a constant by definition, and has the
    next test.
    """
    logps = golden_inputs()[0].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: loss_of(x, objective, bounds, 0.3, kl_estimator), (logps,), eps=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("high", [4.0, 0.1])
def test_cispo_is_reinforce_with_a_truncated_weight(high: float) -> None:
    logps, old, _, advantages = golden_inputs()
    ratio = (logps - old).exp()
    expected = -token_weights(MASK, "token") * ratio.clamp(max=1 + high) * advantages[:, None]
    logps.requires_grad_()
    loss_of(logps, "cispo", Bounds(0.2, high), kl_coef=0.0).backward()
    assert torch.allclose(logps.grad, expected, atol=1e-15)
    assert (ratio[MASK] > 1.1).any()


@every_objective
def test_finite_differences_end_to_end(objective: str, bounds: Bounds) -> None:
    """Toy model in fp64 throughout, from parameters through packing and chunked head to the loss, along 3
    directions: rel. < 1e-6.
    """
    model = tiny_gpt2().double()
    prompts = [[2, 40, 41, 42], [2, 60]]
    completions = [[5, 6, 7, 1], [8, 1], [9, 9, 9], [33]]
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1])[:, None]
    weights = token_weights(mask, OBJECTIVES[objective].aggregation)
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5]).double()
    packed = pack(prompts, completions, 2)
    start = completion_logps(model, packed).logps.detach()
    noise = 0.1 * torch.randn(
        2, *start.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    frozen_ratio = noise[0].neg().exp() if objective == "cispo" else None

    def loss() -> Tensor:
        logps = completion_logps(model, packed).logps
        if frozen_ratio is not None:  # the function whose true gradient cispo's is
            return -(weights * frozen_ratio * advantages[:, None] * logps).sum()
        old = start + noise[0]
        ref = start + noise[1]
        return grpo_loss(
            logps, old, ref, advantages, mask, weights, objective=objective, bounds=bounds, kl_coef=0.1
        )[0]

    logps = completion_logps(model, packed).logps
    kl_coef = 0.0 if objective == "cispo" else 0.1
    settings = {"objective": objective, "bounds": bounds, "kl_coef": kl_coef}
    grpo_loss(logps, start + noise[0], start + noise[1], advantages, mask, weights, **settings)[0].backward()
    parameters = list(model.parameters())
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction, strict=True)).item()
        values = []
        with torch.no_grad():
            for shift in (1e-6, -2e-6):
                for p, d in zip(parameters, direction, strict=True):
                    p.add_(d, alpha=shift)
                values.append(loss().item())
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=1e-6)
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
def test_weights_of_an_update_add_up_to_one(aggregation: str) -> None:
    assert token_weights(MASK, aggregation).sum().item() == pytest.approx(1.0, abs=1e-15)


def test_weights_by_hand() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    assert token_weights(mask, "sequence").tolist() == [[0.25, 0.25], [0.5, 0.0]]
    assert token_weights(mask, "token").tolist() == [[1 / 3, 1 / 3], [1 / 3, 0.0]]
    assert token_weights(mask, "constant").tolist() == [[0.25, 0.25], [0.25, 0.0]]


def test_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="known values: sequence, token, constant"):
        token_weights(MASK, "mean")


@pytest.mark.parametrize(
    ("gap", "cap", "weight"),
    [
        (0.0, 2.0, 1.0),
        (math.log(1.5), 2.0, 1.5),
        (math.log(0.25), 2.0, 0.25),  # no bound from below
        (math.log(3.0), 2.0, 2.0),
        (200.0, 2.0, 2.0),  # exp(200) is no fp32 number
        (math.log(3.0), 0.0, 1.0),  # off
    ],
)
def test_sampler_weight_truth_table(gap: float, cap: float, weight: float) -> None:
    sampling = torch.full((1, 2), -3.0)
    weights = sampler_weights(sampling + gap, sampling, torch.tensor([[True, True]]), cap)
    torch.testing.assert_close(weights, torch.full((1, 2), weight))


def test_sampler_weights_ignore_what_lies_under_the_mask() -> None:
    trainer = torch.tensor([[-1.0, float("nan"), float("inf")]])
    mask = torch.tensor([[True, False, False]])
    assert sampler_weights(trainer, torch.full((1, 3), -2.0), mask, 5.0)[0].tolist() == pytest.approx(
        [math.e, 1.0, 1.0]
    )


def test_sampler_weights_give_the_gradient_of_the_policy_that_is_trained() -> None:
    """By enumeration: tokens drawn by another policy mu, weighted, have the expected gradient of pi itself,
    also by finite differences; without weights they have another one.
    """
    logits = torch.tensor([0.3, -0.4, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    sampler = torch.tensor([0.6, 0.1, 0.2, 0.1], dtype=torch.float64)  # mu
    advantage = torch.tensor([1.0, -0.5, 0.25, -2.0], dtype=torch.float64)

    def expected_reward(values: Tensor) -> Tensor:
        return (values.softmax(dim=0) * advantage).sum()

    def gradient(cap: float) -> Tensor:
        logps = logits.log_softmax(dim=0)[:, None]  # each token is a completion of one token
        weights = sampler[:, None] * sampler_weights(logps, sampler.log()[:, None], logps.isfinite(), cap)
        ones = torch.ones_like(logps, dtype=torch.bool)
        loss, _ = grpo_loss(logps, None, logps.detach(), advantage, ones, weights, bounds=CLIP, kl_coef=0.0)
        return -torch.autograd.grad(loss, logits)[0]

    exact = torch.autograd.grad(expected_reward(logits), logits)[0]
    torch.testing.assert_close(gradient(cap=1e6), exact, rtol=1e-12, atol=1e-14)
    unit = torch.eye(4, dtype=torch.float64) * 1e-6
    with torch.no_grad():
        slopes = [(expected_reward(logits + e) - expected_reward(logits - e)) / 2e-6 for e in unit]
    torch.testing.assert_close(gradient(cap=1e6), torch.stack(slopes), rtol=1e-7, atol=1e-9)
    assert (gradient(cap=0.0) - exact).abs().max() > 0.1  # tokens of mu, taken for tokens of pi


def test_the_bias_of_the_cap_is_what_its_docstring_says() -> None:
    policy = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    sampler = torch.tensor([[0.1, 0.4, 0.5]], dtype=torch.float64)
    value = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    everywhere = torch.ones_like(policy, dtype=torch.bool)
    cap = 2.0
    estimate = (sampler * sampler_weights(policy.log(), sampler.log(), everywhere, cap) * value).sum()
    truth = (policy * value).sum()
    bias = (policy * value * (1 - cap * sampler / policy).clamp_min(0)).sum()
    assert (truth - estimate).item() == pytest.approx(bias.item(), abs=1e-12)
    assert bias.item() == pytest.approx(0.3)
