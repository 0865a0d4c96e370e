"""Drift against a dense softmax in fp64, for plain and altered heads, batches and chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import capped_gemma, tiny_gemma, tiny_gpt2, tiny_llama

from eval.forgetting import drift
from eval.forgetting.drift import TokenText, drift_record, log_softmax_chunks, measure_drift
from grpo.engine import groups
from grpo.engine.attention import GROUPS, use_blocks
from grpo.engine.packing import pack
from grpo.engine.private_apis import attention_name
from grpo.engine.products import FORMATS, format_of, use_format

TEXTS = [
    TokenText("a", [2], [40, 41, 42, 43, 44, 40, 41, 42, 43]),
    TokenText("b", [2], [100]),
    TokenText("c", [2], [7, 9, 11, 200, 13]),
]


def dense(model: Any, base: Any, text: TokenText) -> np.ndarray:
    """(3, tokens): nll, nll of the base, KL(base || model), by the definition."""
    with torch.inference_mode():
        policy, anchor = (
            m(input_ids=torch.tensor([text.start + text.ids])).logits[0, :-1].double().log_softmax(-1)
            for m in (model, base)
        )
    rows = torch.arange(len(text.ids))
    targets = torch.tensor(text.ids)
    return torch.stack(
        [-policy[rows, targets], -anchor[rows, targets], (anchor.exp() * (anchor - policy)).sum(-1)]
    ).numpy()


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2, capped_gemma])
def test_scores_are_those_of_a_dense_softmax(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "KL_CHUNK", 4)  # the longest text spans three chunks
    model = make(seed=0)
    base = make(seed=1)
    result = measure_drift(model, base, TEXTS)
    expected = [dense(model, base, text) for text in TEXTS]
    for row, sums in zip(result["items"], (scores.sum(axis=1) for scores in expected), strict=True):
        assert [row["nll"], row["nll_base"], row["kl"]] == pytest.approx(sums, abs=1e-4, rel=1e-5)
    nll, nll_base, kl = np.concatenate(expected, axis=1)
    assert result["n_tokens"] == 15
    assert [result[key] for key in ("nll_mean", "nll_p90", "kl_mean", "kl_p90")] == pytest.approx(
        [nll.mean(), np.percentile(nll, 90), kl.mean(), np.percentile(kl, 90)], rel=1e-5
    )
    assert result["nll_change_mean"] == pytest.approx(nll.mean() - nll_base.mean(), abs=1e-5)
    assert result["nll_change_p90"] == pytest.approx(
        np.percentile(nll, 90) - np.percentile(nll_base, 90), abs=1e-5
    )


def test_the_direction_is_base_to_policy() -> None:
    """From a sharp base to a flat policy and back are far apart."""
    model = tiny_llama(0)
    base = tiny_llama(1)
    with torch.no_grad():
        base.lm_head.weight.mul_(6)
    forward, backward = (measure_drift(*pair, TEXTS)["kl_mean"] for pair in ((model, base), (base, model)))
    assert abs(forward - backward) > 0.1 * forward
    assert forward == pytest.approx(
        np.concatenate([dense(model, base, text)[2] for text in TEXTS]).mean(), rel=1e-5
    )


def test_a_model_against_itself_has_not_moved(tiny_model: Any) -> None:
    result = measure_drift(tiny_model, tiny_model, TEXTS)
    assert [result[key] for key in ("nll_change_mean", "nll_change_p90", "kl_mean", "kl_p90")] == [0.0] * 4
    assert all(row["nll"] == row["nll_base"] and row["kl"] == 0 for row in result["items"])


def test_an_equal_copy_has_not_moved_either() -> None:
    result = measure_drift(tiny_gemma(0), tiny_gemma(0), TEXTS)
    assert (result["nll_change_mean"], result["kl_mean"]) == (0.0, 0.0)


def test_batches_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama(0)
    base = tiny_llama(1)
    together = measure_drift(model, base, TEXTS)
    monkeypatch.setattr(drift, "BATCH_TOKENS", 1)
    alone = measure_drift(model, base, TEXTS)
    for first, second in zip(together["items"], alone["items"], strict=True):
        assert first["kl"] == pytest.approx(second["kl"], rel=1e-5)
        assert (first["id"], first["tokens"]) == (second["id"], second["tokens"])


@pytest.mark.parametrize("make", [tiny_gemma, capped_gemma])
def test_never_more_than_a_chunk_of_logits(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "KL_CHUNK", 4)
    packed = pack([[2]], [list(range(40, 50))], 1)
    with torch.inference_mode():
        assert [tuple(chunk.shape) for chunk in log_softmax_chunks(make(0), packed)] == [
            (4, 259),
            (4, 259),
            (2, 259),
        ]


def test_a_tiny_step_is_seen_exactly() -> None:
    """KL of a small move is second order; rounding in fp32 is first order and must not drown it: against
    fp64, below 1e-6 nats per token.
    """
    model = tiny_gpt2(0)
    base = tiny_gpt2(0)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.002)
    result = measure_drift(model, base, TEXTS)
    model = model.double()
    base = base.double()
    expected = np.concatenate([dense(model, base, text)[2] for text in TEXTS]).mean()
    assert 1e-7 < expected < 1e-6
    assert result["kl_mean"] == pytest.approx(expected, rel=0.02)


def test_percentiles_are_over_tokens_not_texts() -> None:
    """Eleven tokens with losses 0 to 10: P90 is 9, whatever the texts."""
    losses = np.arange(11.0)
    parts = [np.stack([part, part * 0, part * 0]) for part in np.split(losses, [2])]
    texts = [TokenText("x", [2], [1] * 2), TokenText("y", [2], [1] * 9)]
    assert drift_record(texts, parts)["nll_p90"] == pytest.approx(9.0)
    assert drift_record(texts, parts)["nll_mean"] == pytest.approx(5.0)


def test_texts_without_tokens_are_left_out_and_none_is_refused(tiny_model: Any) -> None:
    empty = TokenText("empty", [2], [])
    assert [row["id"] for row in measure_drift(tiny_model, tiny_model, [empty, *TEXTS])["items"]] == [
        "a",
        "b",
        "c",
    ]
    with pytest.raises(ValueError, match="at least one text"):
        measure_drift(tiny_model, tiny_model, [empty])


def test_the_number_format_of_a_run_changes_no_bit() -> None:
    model = tiny_gemma(0)
    base = tiny_gemma(1)
    plain = measure_drift(model, base, TEXTS)
    for own in (model, base):
        use_format(own, FORMATS["bf16"])
    assert measure_drift(model, base, TEXTS) == plain
    assert format_of(model) == format_of(base) == FORMATS["bf16"]


def test_an_attention_for_16_bits_is_not_measured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past bug: every evaluation on a card ended with "out of resource", as the kernel met fp32."""

    def kernel(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(groups, "kernel", lambda _device: kernel)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # as an accelerator has it
    precisions: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    model = tiny_gemma(0)
    base = tiny_gemma(1)
    for own in (model, base):
        use_format(own, FORMATS["fp16"])
    use_blocks(base)
    plain = measure_drift(base, base, TEXTS)
    use_blocks(base, GROUPS)
    use_blocks(model, GROUPS)
    assert measure_drift(base, base, TEXTS) == plain
    assert measure_drift(model, base, TEXTS)["kl_mean"] > 0
    assert attention_name(model) == attention_name(base) == GROUPS
    assert precisions == ["highest", "high"] * 3
