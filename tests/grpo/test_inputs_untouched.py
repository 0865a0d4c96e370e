"""No maths call changes what it is given, and nothing about training ever moves the reference or turns
dropout on.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_gemma, tiny_llama
from tiny_session import CONFIG, EXAMPLES, TWO_PASSES, Session
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from grpo import advantage, guide, kl, loss, minibatch
from grpo import step_metrics as observe
from grpo.config import AdvantageConfig, Config, EngineConfig, GuideConfig, LossConfig, TrainConfig
from grpo.engine import draw, logprob, model_kl, packing, products, sampler
from grpo.engine.forward import packed_hidden
from grpo.engine.model import load_policy, parameter_hash
from grpo.loss import Bounds
from grpo.records import Experience
from reward import cosine, groups, kernel, panel, scales

MATHS = (  # every public function of these is called below
    advantage, kl, loss, packing, logprob, model_kl, minibatch, sampler, draw, observe, kernel, groups,
)  # fmt: skip
PROMPTS = [[2, 40, 41, 42], [2, 90]]
MODEL = tiny_gemma()
DRAW = torch.Generator().manual_seed(0)
SAMPLING = sampler.Sampling(3, 6, 1.0, tuple(range(60)))
ROLLOUT = sampler.generate(MODEL, PROMPTS, SAMPLING, seed=(0,))
MASK = ROLLOUT.completion_mask
REWARDS = torch.tensor([[0.1, torch.nan, 0.7], [0.2, 0.2, 0.9]])
DRAWN = ROLLOUT.sampling_logps
EXPERIENCE = Experience(ROLLOUT, REWARDS, {"cosine": REWARDS + 1, "chrf": REWARDS / 2}, DRAWN + 0.1, DRAWN)
ADVANTAGES = torch.tensor([[1.0, 0.0, -1.0], [-0.7, -0.7, 1.4]], dtype=torch.float64)
LOGPS, OLD, REF = (torch.rand(6, 6, generator=DRAW) - 1.5 for _ in range(3))
RATIO = (LOGPS - OLD).exp()
BOUNDS = Bounds(0.2, 0.3, 3.0)
UPDATE = Config(loss=LossConfig(objective="dapo"), train=TrainConfig(prompts_per_update=1))
PACKED = packing.pack(PROMPTS, ROLLOUT.completions(), 3, 6)
(MINIBATCH, *_) = minibatch.minibatches_of(UPDATE, EXPERIENCE, ADVANTAGES, 0)
(MICRO, *_) = MINIBATCH.split(1000)
MICRO_LOGPS = logprob.completion_logps(MODEL, MICRO.packed)
SINGLE = packing.pack([[5, 6], [7]], [[8, 9, 1], [9, 1]], 1)
TEXTS = packing.pack([[2], [2]], [[5, 6, 7], [8, 9]], 1)
JOINED = packing.joined_rows(SINGLE, TEXTS)
BASE_STATES = packed_hidden(MODEL, TEXTS).detach() + 0.1
HEAD = MODEL.get_output_embeddings().weight.detach() * 0.9
LOGITS = torch.randn(4, 300, generator=DRAW)
UNIFORMS = torch.rand(4, generator=DRAW, dtype=torch.float64)
VECTORS = F.normalize(torch.randn(5, 8, generator=DRAW), dim=1)
ROWS = torch.tensor([4, 0, 1, 1])
OFFSETS = torch.tensor([0, 1, 3, 4])
WEIGHTS = loss.token_weights(MASK, "sequence")

CALLS: list[tuple[Callable, tuple, dict]] = [
    *[
        (advantage.group_advantages, (REWARDS, 1e-3, baseline, scale), {})
        for baseline in advantage.BASELINES
        for scale in advantage.SCALES
    ],
    (advantage.group_spread, (REWARDS,), {}),
    *[(loss.token_weights, (MASK, name), {}) for name in ("sequence", "token", "constant")],
    *[
        (function, (LOGPS, RATIO, ADVANTAGES.view(6, 1), BOUNDS), {})
        for function in (loss.ppo_clip, loss.cispo, loss.sapo)
    ],
    (loss.sequence_log_ratio, (LOGPS - OLD, MASK), {}),
    *[
        (
            loss.grpo_loss,
            (LOGPS, old, REF, ADVANTAGES.flatten(), MASK, WEIGHTS),
            {"bounds": BOUNDS, "kl_coef": 0.1, **choice},
        )
        for old in (OLD, None)
        for choice in [{"objective": name} for name in loss.OBJECTIVES]
        + [{"kl_estimator": name} for name in kl.KL_ESTIMATORS]
    ],
    *[(function, (LOGPS - REF,), {}) for function in (kl.kl_k1, kl.kl_k2, kl.kl_k3)],
    *[(kl.kl_term, (LOGPS - REF, RATIO, name), {}) for name in kl.KL_ESTIMATORS],
    (logprob.at_least_fp32, (torch.bfloat16,), {}),
    (kl.full_kl, (REF.log_softmax(-1), LOGPS.log_softmax(-1)), {}),
    (kl.reverse_kl_slope, (REF.log_softmax(-1), LOGPS.log_softmax(-1), LOGPS[:, 0]), {}),
    (kl.next_kl_coef, (0.1, 0.2, 0.3), {}),
    (packing.row_tokens, (PROMPTS[0], ROLLOUT.completions()), {}),
    (packing.pack, (PROMPTS, ROLLOUT.completions(), 3, 6), {}),
    (packing.visible, (PACKED, 3), {}),
    (packing.joined_rows, (SINGLE, TEXTS), {}),
    (packing.by_budget, ([4, 5, 6], 9), {}),
    (packing.send, (VECTORS, torch.device("cpu")), {}),
    (logprob.completion_logps, (MODEL, PACKED, 0.7), {}),
    (logprob.target_logps, (MODEL, PACKED, 0.7), {}),
    (logprob.by_completion, (SINGLE, torch.randn(5), torch.rand(5)), {}),
    (model_kl.states_and_head, (MODEL, TEXTS), {}),
    (model_kl.kl_to_base, (MODEL, tiny_gemma(1), TEXTS), {}),
    (model_kl.kl_to_states, (MODEL, TEXTS, BASE_STATES, HEAD), {}),
    (model_kl.kl_from_policy, (MODEL, TEXTS, tiny_gemma(1), TEXTS), {}),
    (model_kl.logps_and_kl, (MODEL, tiny_gemma(1), TEXTS), {}),
    (model_kl.logps_beside_texts, (MODEL, SINGLE, TEXTS, BASE_STATES, HEAD), {}),
    *[(model_kl.head_kl, (MODEL, TEXTS, BASE_STATES, HEAD, reverse), {}) for reverse in (False, True)],
    (model_kl.head_logps_and_kl, (MODEL, JOINED, slice(5), slice(5, None), BASE_STATES, HEAD), {}),
    (model_kl.all_logps, (MODEL, TEXTS), {}),
    *[(minibatch.micro_batches, (ROLLOUT, torch.arange(2), 20, share), {}) for share in (True, False)],
    (minibatch.score, (MODEL, ROLLOUT, 0.7, 20), {}),
    (minibatch.update_windows, (6, 2, (0, 1)), {}),
    (minibatch.shares_of, (ROLLOUT, torch.arange(2), 2), {}),
    (minibatch.minibatches_of, (UPDATE, EXPERIENCE, ADVANTAGES, 0), {}),
    (minibatch.Minibatch.split, (MINIBATCH, 20), {}),
    (
        minibatch.guided_weights,
        (
            guide.guidance(GuideConfig(mode="term"), AdvantageConfig(), REWARDS, None, 0, 2, [[7, 1], [8]]),
            MASK[:3],
            torch.tensor([0]),
            "token",
        ),
        {},
    ),
    (draw.draw, (LOGITS, UNIFORMS), {}),
    *[(draw.pick, (LOGITS, UNIFORMS, temperature), {}) for temperature in (0.0, 0.7)],
    (draw.uniforms_for, ((1, 2), range(3), 4), {}),
    (sampler.generate, (MODEL, PROMPTS, SAMPLING, (0,)), {}),
    (sampler.rows_of, ([1, 3], 2), {}),
    (sampler.whole_rollout, ([ROLLOUT, ROLLOUT],), {}),
    (sampler.decode_in_slots, (MODEL, PROMPTS, SAMPLING, draw.uniforms_for((0,), range(6), 6)), {}),
    (observe.micro_batch_sums, (MICRO_LOGPS, MICRO), {}),
    (observe.micro_batch_peaks, (MICRO_LOGPS, MICRO), {}),
    (observe.largest, (VECTORS.abs(),), {}),
    (observe.totals, ([{"a": (1.0, 2.0)}, {"a": (3.0, 4.0)}],), {}),
    (observe.maxima, ([{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}],), {}),
    (observe.refuse_gap, (0.1, 0.2), {}),
    (observe.effective_share, (1.0, 1.1), {}),
    (minibatch.MicroBatch.trainer_logps, (MICRO, MICRO_LOGPS.logps), {}),
    (observe.sampler_log_ratio, (MICRO_LOGPS, MICRO), {}),
    (loss.sampler_weights, (MICRO_LOGPS.logps, MICRO.sampling_logps, MICRO.mask, 2.0), {}),
    *[
        (products.product, (VECTORS, VECTORS[:3].clone(), None, format), {})
        for format in products.FORMATS.values()
    ],
    (products.multiply, (VECTORS.half(), VECTORS.half().T), {}),
    *[(products.round_operand, (VECTORS, format), {}) for format in products.FORMATS.values()],
    (observe.rollout_metrics, (EXPERIENCE, 1e-3), {}),
    (kernel.ragged_cosines, (VECTORS[:3].clone(), VECTORS, ROWS, OFFSETS), {}),
    *[
        (kernel.soft_maximum, (torch.rand(4, generator=DRAW), OFFSETS, softness), {})
        for softness in (0.0, 0.1)
    ],
    (scales.standardise, (REWARDS.double(),), {}),
    (groups.deviations, (REWARDS,), {}),
    (groups.group_ranks, (REWARDS,), {}),
    (groups.standard_deviation, groups.deviations(REWARDS), {}),
    (cosine.rescale, (torch.rand(4, generator=DRAW), 0.3), {}),
    (panel.agreement, (REWARDS[1:], REWARDS[1:] / 2), {}),
]
ELSEWHERE = {  # inside `generate` and `completion_logps`; text
    "decode_in_rows", "decode_by_model", "decode_with", "uses_graph", "next_logits", "prefill", "rollout_samples",
}  # fmt: skip


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in nested arguments: of records their fields, of a model its parameters."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, torch.nn.Module):
        return list(value.parameters())
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    )
    return list(chain.from_iterable(map(tensors_in, children)))


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


@pytest.mark.parametrize(
    ("function", "arguments", "settings"), CALLS, ids=lambda value: getattr(value, "__name__", "")
)
def test_inputs_of_a_maths_call_stay_as_they_were(
    function: Callable, arguments: tuple, settings: dict
) -> None:
    given = tensors_in((arguments, settings))
    before = [(tensor._version, bits(tensor)) for tensor in given]
    lists = repr([argument for argument in arguments if isinstance(argument, list)])
    result = function(*arguments, **settings)
    if inspect.isgenerator(result):
        list(result)
    assert [(tensor._version, bits(tensor)) for tensor in given] == before
    assert repr([argument for argument in arguments if isinstance(argument, list)]) == lists


@pytest.mark.parametrize("module", MATHS, ids=lambda module: module.__name__)
def test_every_public_function_of_the_maths_is_in_the_table(module: ModuleType) -> None:
    named = {
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__
    }
    missing = (
        {name for name in named if not name.startswith("_")}
        - ELSEWHERE
        - {function.__name__ for function, _, _ in CALLS}
    )
    assert not missing, f"add to CALLS: {missing}"


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_no_dropout_anywhere_even_if_the_model_asks_for_it(
    make: Callable, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model saved with dropout 0.5 trains for two steps: nothing drops, the first step has no KL and no
    gap.

    Through the model's own code: the fast paths have no dropout to turn off.
    """
    asking = make()
    asking.config.attention_dropout = 0.5
    asking.save_pretrained(tmp_path / "model")
    policy = load_policy(tmp_path / "model", torch.device("cpu"), packed_attention=False)
    config = replace(CONFIG, engine=EngineConfig(fast_decode=False))
    assert policy.config.attention_dropout == 0.5
    dropped = []
    attention = F.scaled_dot_product_attention
    dropout = F.dropout

    def watched_attention(*inputs: Any, **settings: Any) -> Tensor:
        dropped.append(settings.get("dropout_p", 0.0))
        return attention(*inputs, **settings)

    def watched_dropout(
        values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        dropped.append(p if training else 0.0)
        return dropout(values, p, training, inplace)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched_attention)
    monkeypatch.setattr(F, "dropout", watched_dropout)
    session = Session(config, tmp_path / "run", tiny_tokenizer, policy=policy)
    session.run(stop_at=2)
    assert len(dropped) >= 30 and set(dropped) == {0.0}
    for model in (session.policy, session.reference):
        assert not any(module.training for module in model.modules())
    row = session.metrics()[0]
    assert row["kl_mean"] == pytest.approx(0.0, abs=1e-9) and row["ratio_gap_max"] < 1e-5


def test_reference_is_bit_equal_after_training_and_takes_no_gradient(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    session = Session(
        replace(TWO_PASSES, loss=LossConfig(kl_coef=0.5)), tmp_path, tiny_tokenizer, examples=EXAMPLES
    )
    before = parameter_hash(session.reference)
    assert before == parameter_hash(session.policy)
    versions = [parameter._version for parameter in session.reference.parameters()]
    session.run(stop_at=3)
    assert parameter_hash(session.reference) == before != parameter_hash(session.policy)
    assert [parameter._version for parameter in session.reference.parameters()] == versions
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in session.reference.parameters()
    )
    assert not any(
        mine is theirs for mine in session.policy.parameters() for theirs in session.reference.parameters()
    )
