"""Log-probabilities and their gradients, however they are laid out, cut, or recomputed. Criteria:
docs/correctness.md.
"""

from collections.abc import Callable

import pytest
import torch
from ragged import COMPLETIONS, PROMPTS
from tiny import EOS, tiny_gemma, tiny_llama
from torch import Tensor
from transformers import PreTrainedModel

from grpo.config import Config
from grpo.engine.forward import output_weight, packed_hidden
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, use_format
from grpo.engine.sampler import Sampling, generate
from grpo.loop import micro_batch_loss
from grpo.loss import Bounds, grpo_loss, token_weights
from grpo.minibatch import minibatches_of, score
from grpo.records import Experience

WIDTH = 10
MASK = torch.arange(WIDTH) < torch.tensor([len(completion) for completion in COMPLETIONS])[:, None]
ADVANTAGES = torch.linspace(-1.5, 1.5, 9, dtype=torch.float64)


def loss_of(logps: Tensor) -> Tensor:
    """GRPO's loss of the nine completions, ratio and KL both away from their zeros."""
    old = logps.detach() - 0.05
    ref = logps.detach() + 0.1
    weights = token_weights(MASK, "sequence")
    return grpo_loss(logps, old, ref, ADVANTAGES, MASK, weights, bounds=Bounds(0.2, 0.28), kl_coef=0.04)[0]


def padded_logps(model: PreTrainedModel, side: str, extra: int = 0) -> Tensor:
    """(9, WIDTH) from the model's ordinary forward pass on a padded batch; `extra` more pads than needed."""
    rows = [PROMPTS[number // 3] + completion for number, completion in enumerate(COMPLETIONS)]
    width = max(map(len, rows)) + extra
    result = []
    ids = torch.zeros(9, width, dtype=torch.int64)
    mask = torch.zeros(9, width, dtype=torch.int64)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    logps = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).logits.log_softmax(-1)
    for number, completion in enumerate(COMPLETIONS):
        end = width if side == "left" else len(rows[number])
        predicted = logps[number, end - len(completion) - 1 : end - 1]
        values = predicted.gather(1, torch.tensor(completion)[:, None])[:, 0]
        result.append(torch.nn.functional.pad(values, (0, WIDTH - len(completion))))
    return torch.stack(result)


def gradients(model: PreTrainedModel, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad]))


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_padding_side_and_packing_give_the_same_logps_and_loss(make: Callable) -> None:
    model = make()
    packed = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
    for side, extra in (("left", 0), ("right", 0), ("left", 5), ("right", 5)):
        padded = padded_logps(model, side, extra)
        assert (padded - packed).abs().max() < 1e-5
        assert loss_of(padded).item() == pytest.approx(loss_of(packed).item(), abs=1e-6)


def test_sampled_end_token_is_trained_and_nothing_behind_it() -> None:
    """Through the sampler: the end token has mask 1 and a gradient; what lies behind it, random ids here, has
    none.
    """
    model = tiny_gemma()
    stops = torch.tensor([EOS, *range(10, 60)])
    rollout = generate(model, PROMPTS, Sampling(8, 12, 1.0, tuple(stops.tolist())), seed=(2,))
    behind = ~rollout.completion_mask
    rollout.completion_ids[behind] = torch.randint(
        3, 259, (int(behind.sum()),), generator=torch.Generator().manual_seed(0)
    )
    logps = completion_logps(model, pack(PROMPTS, rollout.completions(), 8, 12)).logps
    logps.retain_grad()
    advantages = torch.randn(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = (rollout.completion_mask, token_weights(rollout.completion_mask, "sequence"))
    settings = {"bounds": Bounds(0.2, 0.2), "kl_coef": 0.0}
    grpo_loss(logps, None, logps.detach(), advantages, *inputs, **settings)[0].backward()
    ended = rollout.finished.nonzero()[:, 0]
    last = rollout.lengths[ended] - 1
    assert len(ended) > 5 and (last < 11).any()
    assert (
        torch.isin(rollout.completion_ids[ended, last], stops).all()
        and rollout.completion_mask[ended, last].all()
    )
    assert torch.allclose(
        logps.grad[ended, last].double(), -advantages[ended] / (24 * rollout.lengths[ended]), rtol=1e-6
    )
    assert behind.sum() > 20 and not logps.grad[behind].any()


@pytest.mark.parametrize(
    ("name", "stops", "prompts"),
    [
        ("several stop ids", (EOS, 30, 31, 32, 200), PROMPTS),
        ("the end token is the padding", (0, *range(10, 60)), PROMPTS),
        (
            "the end token is in the prompt",
            (EOS, *range(10, 60)),
            [[2, EOS, 40, 41, EOS], [EOS], [2, 60, EOS, 61, EOS, 62, 63]],
        ),
        ("cut before any end", (), PROMPTS),
    ],
)
def test_variants_of_the_end_token(name: str, stops: tuple[int, ...], prompts: list[list[int]]) -> None:
    """Lengths, reasons to stop and log-probabilities are right whatever the end token is called and wherever
    else it stands.
    """
    model = tiny_gemma()
    rollout = generate(model, prompts, Sampling(16, 12, 1.0, stops), seed=(5,))
    logps = score(model, rollout, 1.0, max_tokens=200)
    assert (logps - rollout.sampling_logps).abs().max() < 1e-5
    for ids, finished in zip(rollout.completions(), rollout.finished.tolist(), strict=True):
        ends = [place for place, token in enumerate(ids) if token in stops]
        assert ends == ([len(ids) - 1] if finished else []) and (finished or len(ids) == 12)
    assert rollout.finished.any() == bool(stops)
    assert rollout.completion_mask.sum() == (rollout.sampling_logps < 0).sum()


def test_completion_of_no_tokens_takes_nothing_from_the_others() -> None:
    model = tiny_gemma()
    holed = [[] if number in (1, 5) else completion for number, completion in enumerate(COMPLETIONS)]
    logps = completion_logps(model, pack(PROMPTS, holed, 3, WIDTH)).logps
    mask = MASK & torch.tensor([bool(completion) for completion in holed])[:, None]
    whole = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3, WIDTH)).logps
    assert (logps - whole * mask).abs().max() < 1e-5
    assert (
        torch.isfinite(token_weights(mask, "sequence")).all()
        and not token_weights(mask, "sequence")[[1, 5]].any()
    )
    alone = completion_logps(model, pack([PROMPTS[0]], [[]], 1, WIDTH)).logps
    assert torch.equal(alone, torch.zeros(1, WIDTH))


def test_log_softmax_of_bf16_logits_is_taken_in_fp32() -> None:
    """Against fp64 on the very same bf16 logits, at a vocabulary where a bf16 log-softmax is wrong by
    hundredths of a nat.
    """
    model = tiny_gemma(vocabulary=40_000)
    use_format(model, FORMATS["bf16"])
    packed = pack(PROMPTS, COMPLETIONS, 3)
    for temperature in (0.7, 1.0):
        with torch.no_grad():
            logits = (
                packed_hidden(model, packed).bfloat16().float() @ output_weight(model).bfloat16().float().T
            )
            result = completion_logps(model, packed, temperature)
        exact = (logits.double() / temperature).log_softmax(-1)
        expected = exact.gather(1, packed.targets[:, None])[:, 0]
        assert (result.logps.flatten()[packed.slots] - expected).abs().max() < 1e-5
        assert (result.entropy.flatten()[packed.slots] + (exact.exp() * exact).sum(-1)).abs().max() < 1e-4
        careless = (logits.bfloat16() / temperature).log_softmax(-1).gather(1, packed.targets[:, None])[:, 0]
        assert (careless - expected).abs().max() > 1e-3


def test_backward_pass_sees_the_logits_of_the_forward_pass_in_bf16() -> None:
    """Past bug: the backward pass ran outside of autocast, so it made the logits again in fp32 and
    subtracted the bf16 normaliser.

    With logits as large as those of a real model (28) that was wrong by 2.5 % of the gradient.
    """
    model = tiny_llama()
    packed = pack(PROMPTS, COMPLETIONS, 3)
    with torch.no_grad():
        model.lm_head.weight *= 16
    use_format(model, FORMATS["bf16"])
    hidden = packed_hidden(model, packed).detach()
    logits = hidden.bfloat16().float() @ output_weight(model).detach().bfloat16().float().T
    logps = completion_logps(model, packed).logps
    gradient = torch.autograd.grad(logps.sum(), model.lm_head.weight)[0]
    probabilities = logits.double().softmax(-1)
    one_hot = torch.nn.functional.one_hot(packed.targets, 259)
    exact = (one_hot - probabilities).T @ hidden.bfloat16().double()
    assert float((gradient - exact).norm() / exact.norm()) < 4e-3


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_chunks_change_neither_values_nor_gradients(
    make: Callable, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33 tokens, fewer than the product's own chunk: one by one, uneven, and more than there are, against all
    at once.
    """
    model = make()
    packed = pack(PROMPTS, COMPLETIONS, 3)
    whole = completion_logps(model, packed)
    expected = gradients(model, loss_of(whole.logps))
    monkeypatch.setattr("grpo.engine.chunked_head.CHUNK", chunk)
    cut = completion_logps(model, packed)
    assert (cut.logps - whole.logps).abs().max() < 1e-6 and (cut.entropy - whole.entropy).abs().max() < 1e-5
    for ours, theirs in zip(gradients(model, loss_of(cut.logps)), expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-6 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_selected_logps_entropy_and_gradient_equal_the_naive_formula_in_fp64(
    make: Callable, temperature: float
) -> None:
    model = make()
    packed = pack(PROMPTS, COMPLETIONS, 3)
    result = completion_logps(model, packed, temperature)
    hidden = packed_hidden(model, packed).detach().double().requires_grad_()
    weight = output_weight(model).detach().double()
    naive = (hidden @ weight.T / temperature).log_softmax(-1)
    selected = naive.gather(1, packed.targets[:, None])[:, 0]
    assert (result.logps.flatten()[packed.slots] - selected).abs().max() < 1e-5
    assert (result.entropy.flatten()[packed.slots] + (naive.exp() * naive).sum(-1)).abs().max() < 1e-5
    assert (
        not result.logps[~MASK].any() and not result.entropy[~MASK].any() and not result.entropy.requires_grad
    )

    ours_hidden = packed_hidden(model, packed)
    ours = torch.autograd.grad(
        loss_of(completion_logps(model, packed, temperature).logps), output_weight(model)
    )[0]
    logits = (
        (ours_hidden @ output_weight(model).T / temperature)
        .log_softmax(-1)
        .gather(1, packed.targets[:, None])[:, 0]
    )
    plain = torch.zeros(9 * WIDTH).index_put((packed.slots,), logits).view(9, WIDTH)
    theirs = torch.autograd.grad(loss_of(plain), output_weight(model))[0]
    assert (ours - theirs).abs().max() < 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("max_tokens", [40, 10_000])
def test_shared_prefix_update_equals_the_unshared_one(make: Callable, max_tokens: int) -> None:
    """Loss and gradient of a whole update through the product's own minibatches, ragged groups, a policy that
    has moved.
    """
    model = make()
    rollout = generate(model, PROMPTS, Sampling(5, WIDTH, 1.0, (EOS, *range(10, 80))), seed=(3,))
    assert rollout.lengths.unique().numel() > 4
    old = rollout.sampling_logps - 0.05
    rewards = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    experience = Experience(rollout, rewards, {}, rollout.sampling_logps + 0.1, old)
    results = []
    for share_prefix in (True, False):
        model.zero_grad()
        total = 0.0
        (update,) = minibatches_of(Config(), experience, rewards - 0.5, 0)
        for micro in update.split(max_tokens, share_prefix):
            logps = completion_logps(model, micro.packed).logps
            value, _ = micro_batch_loss(Config(), micro, logps, None, kl_coef=0.04)
            value.backward()
            total += value.item()
        results.append((total, [parameter.grad.clone() for parameter in model.parameters()]))
    (shared, ours), (unshared, theirs) = results
    assert shared == pytest.approx(unshared, abs=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-5 * max(1.0, float(b.abs().max()))
