"""The anchor: its value and gradient against a dense softmax, its share of an update, and what it keeps in
real runs of the tiny model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ragged import IDS
from run_object import run_of
from tiny import capped_gemma, flat_gradient, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_hooks import save_and_stop_at
from tiny_run import Command, assert_same_run, general_text, metrics
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import grpo.anchor
from data.errors import InputError
from data.stream import PromptStream
from grpo.anchor import Anchor
from grpo.engine import chunked_head
from grpo.engine.model_kl import kl_to_base
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, use_format
from grpo.run import main
from grpo.runtime import device
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.stages.anchor_setup import anchor_texts
from grpo.stages.prepare import check_texts

START = [2]


def dense_kl(policy: Any, base: Any, ids: list[int]) -> torch.Tensor:
    """Sum of KL(base || policy) over a text's tokens, by the definition, in the models' precision."""
    row = torch.tensor([START + ids])
    mine, theirs = (model(input_ids=row).logits[0, :-1].log_softmax(-1) for model in (policy, base))
    return (theirs.exp() * (theirs - mine)).sum()


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2, capped_gemma])
def test_value_and_gradient_are_those_of_a_dense_softmax(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_head, "KL_CHUNK", 4)  # the longest text spans three chunks
    policy = make(seed=0).double()
    same = make(seed=0).double()
    base = make(seed=1).double().requires_grad_(False)
    value = kl_to_base(policy, base, pack([START] * 3, IDS, group_size=1))
    expected = torch.stack([dense_kl(same, base, ids) for ids in IDS]).sum()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6) and value.item() > 1
    (0.3 * value).backward()
    (0.3 * expected).backward()
    assert torch.allclose(flat_gradient(policy), flat_gradient(same), rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in base.parameters())


def test_at_the_untouched_model_nothing_pulls() -> None:
    policy = tiny_gemma(0)
    base = tiny_gemma(0)
    value = kl_to_base(policy, base, pack([START] * 3, IDS, group_size=1))
    value.backward()
    assert abs(value.item()) < 1e-6
    assert max(float(p.grad.abs().max()) for p in policy.parameters() if p.grad is not None) < 1e-6


def small_anchor(world: World = SINGLE_PROCESS, max_tokens: int = 64, coef: float = 0.5) -> Anchor:
    texts = PromptStream(IDS, num_prompts=3, seed=0)
    return Anchor(
        tiny_gpt2(1).double().requires_grad_(False),
        texts,
        START,
        coef,
        max_tokens,
        device.choose("cpu"),
        world,
    )


def backward(loss: torch.Tensor, _is_last: bool) -> None:
    loss.backward()


def gradient_of(*anchors: Anchor) -> tuple[torch.Tensor, list[tuple[float, float]]]:
    """Gradients added up over the calls, and what each call gave back."""
    policy = tiny_gpt2(0).double()
    sums = [SINGLE_PROCESS.total(one(policy, 0, backward))["anchor_kl"] for one in anchors]
    return flat_gradient(policy), sums


def test_an_update_gets_the_coefficient_times_the_mean_over_its_tokens() -> None:
    gradient, [(total, count)] = gradient_of(small_anchor())
    policy = tiny_gpt2(0).double()
    base = tiny_gpt2(1).double()
    mean = torch.stack([dense_kl(policy, base, ids) for ids in IDS]).sum() / 15
    (0.5 * mean).backward()
    assert count == 15 and total / count == pytest.approx(mean.item(), rel=1e-6)
    assert torch.allclose(gradient, flat_gradient(policy), rtol=1e-5, atol=1e-8)


def test_neither_passes_nor_processes_change_the_gradient() -> None:
    whole, [(total, count)] = gradient_of(small_anchor())
    by_passes, sums = gradient_of(small_anchor(max_tokens=10))
    shared, parts = gradient_of(small_anchor(World(0, 2)), small_anchor(World(1, 2)))
    assert torch.allclose(by_passes, whole, rtol=1e-6, atol=1e-10) and torch.allclose(
        shared, whole, rtol=1e-6, atol=1e-10
    )
    assert sums[0] == pytest.approx((total, count)) and [
        sum(pair) for pair in zip(*parts, strict=True)
    ] == pytest.approx([total, count])
    assert all(part[1] > 0 for part in parts)


def test_in_bf16_it_is_the_same_up_to_rounding() -> None:
    """fp32 masters, bf16 products: value and direction stay."""
    results = []
    for name in ("fp32", "bf16"):
        policy = tiny_gemma(0)
        base = tiny_gemma(1).requires_grad_(False)
        for model in (policy, base):
            use_format(model, FORMATS[name])
        texts = PromptStream(IDS, num_prompts=3, seed=0)
        anchor = Anchor(base, texts, START, 1.0, 64, device.choose("cpu"), SINGLE_PROCESS)
        total, count = SINGLE_PROCESS.total(anchor(policy, 0, backward))["anchor_kl"]
        results.append((total / count, flat_gradient(policy)))
    (value, gradient), (rounded, other) = results
    assert other.dtype == torch.float32 and rounded == pytest.approx(value, rel=0.05) and rounded != value
    assert float(torch.cosine_similarity(gradient, other, dim=0)) > 0.98


POOL = [[40 + i, *range(60 + i, 62 + 2 * i)] for i in range(7)]


def pool_anchor(base: Any) -> Anchor:
    """Two of seven texts an update; two or three texts in a pass of the untouched model."""
    texts = PromptStream(POOL, num_prompts=2, seed=3)
    return Anchor(base, texts, START, 1.0, 24, device.choose("cpu"), SINGLE_PROCESS)


def gradients(anchor: Anchor, updates: range) -> list[torch.Tensor]:
    policy = tiny_gemma(0)
    results = []
    for update in updates:
        anchor(policy, update, backward)
        results.append(flat_gradient(policy))
        policy.zero_grad()
    return results


def test_the_untouched_model_runs_once_over_each_text_and_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    hidden = grpo.anchor.packed_hidden
    monkeypatch.setattr(
        grpo.anchor, "packed_hidden", lambda model, packed: rows.append(packed) or hidden(model, packed)
    )
    base = tiny_gemma(1)
    anchor = pool_anchor(base)
    assert anchor.states is not None and rows == []
    gradients(anchor, range(1))
    assert len(rows) == 1 and anchor.states.model is base  # the texts of an update are neighbours in a pass
    gradients(anchor, range(12))
    assert sum(len(row.targets) for row in rows) == sum(map(len, POOL)) and anchor.states.model is None
    for ids in POOL:
        alone = base(input_ids=torch.tensor([START + ids]), output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(anchor.states.known[tuple(ids)], alone[:-1], rtol=1e-5, atol=1e-5)


def test_a_later_start_has_the_same_bits() -> None:
    """What a text is packed with is a function of the texts and the seed, not of when an update needs it."""
    whole = gradients(pool_anchor(tiny_gemma(1)), range(9))
    later = gradients(pool_anchor(tiny_gemma(1)), range(5, 9))
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], later, strict=True))


def test_a_head_that_is_more_than_a_product_runs_every_time() -> None:
    anchor = pool_anchor(capped_gemma(1))
    policy = capped_gemma(0)
    total, count = SINGLE_PROCESS.total(anchor(policy, 0, backward))["anchor_kl"]
    expected = sum(float(dense_kl(policy, capped_gemma(1), ids).detach()) for ids in anchor.texts.at(0))
    assert anchor.states is None and count == sum(map(len, anchor.texts.at(0)))
    assert total == pytest.approx(expected, rel=1e-4)


# Real runs. The first text is what a tax budget would be measured on (tax.texts=1); the anchor has the
# others.
TEXTS = [
    "The river rose in the night.",
    "The bridge was closed and the road too.",
    "今天早上下了一场大雨。",
    "The river rose again.",
]
LARGE_STEPS = [
    "sft.optim.lr=1e-2", "sft.num_steps=10", "train.optim.lr=1e-2", "train.num_steps=6", "checkpoint.every=3", "tax.texts=1",
]  # fmt: skip

Runner = Callable[..., int]


@pytest.fixture
def go(command: Command, tmp_path: Path, own_cache: None) -> Runner:
    """Run the stages data, sft, train into tmp_path/name/run; the exit code."""
    text = general_text(tmp_path, TEXTS)
    return lambda name, *settings: main(command(name, text, *LARGE_STEPS, *settings))


def distance(folder: Path, base: Path, tokenizer: PreTrainedTokenizerFast) -> float:
    """Mean KL(base || model) a token over all TEXTS."""
    models = [AutoModelForCausalLM.from_pretrained(place).double() for place in (folder, base)]
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    with torch.no_grad():
        return sum(float(dense_kl(*models, one)) for one in ids) / sum(map(len, ids))


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_warm_start_and_training_stay_near_the_untouched_model(
    method: str, go: Runner, tmp_path: Path, tiny_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    held = ["anchor.sft=1.0", "anchor.train=1.0", "anchor.batch_size=4"]
    assert go("free", f"train.method={method}") == go("held", f"train.method={method}", *held) == 0
    for part in ("warm_start", "policy"):
        free, kept = (
            distance(tmp_path / name / "run" / part, tiny_folder, tiny_tokenizer) for name in ("free", "held")
        )
        assert 0 < kept < free / 2
    rows = metrics(tmp_path / "held" / "run")
    assert all(("anchor_kl" in row) == (not row["stage"].endswith("_dev")) for row in rows)
    assert rows[0]["anchor_kl"] == pytest.approx(0, abs=1e-5) and rows[9]["anchor_kl"] > 1e-3
    assert not any("anchor_kl" in row for row in metrics(tmp_path / "free" / "run"))


def test_resumed_it_sees_the_same_texts(go: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert go("whole", "anchor.sft=0.3", "anchor.train=0.3") == 0
    save_and_stop_at(monkeypatch, ("sft", 4), ("train", 2))
    stops = [go("parts", "anchor.sft=0.3", "anchor.train=0.3") != 0 for _ in range(3)]
    assert stops == [True, True, False]
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert_same_run(parts, whole)


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        (["tax.text=tax.txt"], ["c", "d"]),
        (["tax.text=tax.txt", "tax.budget=0.02"], ["c", "d"]),
        (["tax.text=tax.txt", "anchor.text=own.txt", "tax.budget=0.02"], ["e", "c"]),
        (["tax.text=nowhere.txt", "anchor.text=own.txt"], ["e", "b", "c"]),  # no tax is measured
        (["tax.text=tax.txt", "anchor.text=tax.txt", "tax.budget=0.02"], ["c", "d"]),
    ],
)
def test_the_anchor_has_its_own_texts_and_none_of_the_tax(
    settings: list[str], texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tax.txt").write_text("a\nb\nc\nd\n", encoding="utf-8")
    (tmp_path / "own.txt").write_text("e\nb\nc\n", encoding="utf-8")
    assert anchor_texts(run_of(tmp_path, ["tax.texts=2", *settings])) == texts


def test_a_file_of_the_anchor_that_is_none_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path, [f"anchor.text={tmp_path}/none.txt", "anchor.sft=1.0"])
    with pytest.raises(InputError, match=r"anchor\.text = .*none\.txt: cannot be read"):
        check_texts(run)


def test_a_file_without_texts_for_it_is_refused(
    go: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("run", "anchor.train=1.0", "tax.texts=4") == 2
    error = capsys.readouterr().err
    assert "own.txt: has no text besides the first 4 (tax.texts)" in error and error.count("\n") == 1
    assert go("run", "anchor.sft=-1.0") == 2
    assert "anchor.sft = -1.0: must be at least 0" in capsys.readouterr().err
