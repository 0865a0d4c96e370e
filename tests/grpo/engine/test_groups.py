"""Attention over groups in one kernel: who may look at whom, the table of tiles, and the way back in 16 bits.

A CPU has no way back through flex_attention, so gradients run through `dense_kernel`, which takes the same arguments.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from packed_rows import LAYOUTS, dense_kernel, logps_and_gradients, packed_of
from tiny import tiny_gemma, tiny_gpt2, tiny_llama
from torch import Tensor
from torch.nn.functional import pad

from grpo.engine import attention_choice, groups, private_apis
from grpo.engine.attention import GROUPS, NAME, blocks_of, use_blocks
from grpo.engine.attention_choice import choose_attention, trouble_of_groups
from grpo.engine.groups import SMALL_TILES, TILE, Groups, groups_of, mask_of, padded_length, sees, tiles_of
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import Packed, visible
from grpo.engine.private_apis import attention_name
from grpo.engine.products import FORMATS, FP32, use_format

ROWS = {
    **LAYOUTS,
    "several tiles": ((150, 200, 3, 90), (140, 20, 1, 30, 260, 5, 0, 9, 40, 41, 42, 43)),
    "one long prompt, many completions": ((300,), (40,) * 16),
    "long groups of one": ((9, 300, 11, 7), (4, 150, 260, 9)),
}


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "kernel", lambda _device: dense_kernel)


def shown_of(packed: Packed, window: int | None) -> Tensor:
    """(S', S') bool: `visible`, and nothing for padding."""
    shown = visible(packed, window)[0, 0]
    behind = padded_length(len(shown)) - len(shown)
    return pad(shown, (0, behind, 0, behind))


@pytest.mark.parametrize("window", [None, 1, 8, 100])
@pytest.mark.parametrize("name", ROWS)
def test_the_function_of_pairs_is_the_mask(name: str, window: int | None) -> None:
    packed = packed_of(*ROWS[name])
    size = packed.input_ids.shape[1]
    place = torch.arange(size)
    may_look = sees(groups_of(packed), window)
    assert torch.equal(may_look(0, 0, place[:, None], place), visible(packed, window)[0, 0])


@pytest.mark.parametrize("window", [None, 8, 100])
@pytest.mark.parametrize("name", ROWS)
def test_the_table_leaves_out_no_pair_and_calls_no_tile_full_that_is_not(
    name: str, window: int | None
) -> None:
    packed = packed_of(*ROWS[name])
    shown = shown_of(packed, window).unflatten(0, (-1, TILE)).unflatten(2, (-1, TILE))
    has_pair = shown.any(dim=3).any(dim=1)
    has_all = shown.all(dim=3).all(dim=1)
    some, full = tiles_of(groups_of(packed), window)
    diagonal = torch.eye(len(some), dtype=torch.bool)
    assert not (has_pair & ~some).any() and not (full & ~has_all).any()
    if window is None:  # and no more tiles than needed
        assert torch.equal(some, has_pair | diagonal)
    table = mask_of(groups_of(packed), window)
    assert torch.equal(table.to_dense()[0, 0].bool(), some)
    assert table.full_kv_num_blocks is not None and int(table.full_kv_num_blocks.sum()) == int(full.sum())


def test_a_long_prompt_has_full_tiles_and_groups_have_none_of_each_other() -> None:
    some, full = tiles_of(groups_of(packed_of((300,), (40,) * 16)), None)
    assert len(some) == 8 and int(full.sum()) == 1 + 2 * 5  # tiles 0 and 1 hold the prompt alone, 7 padding
    alone, _ = tiles_of(groups_of(packed_of((128,) * 8, (1,) * 8)), None)
    assert torch.equal(alone, torch.eye(8, dtype=torch.bool))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2])
def test_the_kernel_gives_the_logps_of_the_blocks(make: Callable) -> None:
    blocked = make()
    grouped = copy.deepcopy(blocked)
    use_blocks(blocked)
    use_blocks(grouped, GROUPS)
    for name in ("ragged, some empty, beyond the window", "groups of one"):
        packed = packed_of(*LAYOUTS[name])
        with torch.no_grad():
            ours, theirs = (completion_logps(one, packed).logps for one in (grouped, blocked))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("without_kernel")
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_gradients_are_those_of_the_blocks(make: Callable, name: str) -> None:
    packed = packed_of(*LAYOUTS[name])
    blocked = make()
    grouped = copy.deepcopy(blocked)
    use_blocks(blocked)
    use_blocks(grouped, GROUPS)
    for ours, theirs in zip(
        logps_and_gradients(grouped, packed), logps_and_gradients(blocked, packed), strict=True
    ):
        assert (ours - theirs).norm() <= 1e-5 * (1 + theirs.norm())


@pytest.mark.usefixtures("without_kernel")
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e9])
def test_a_gradient_of_any_size_survives_16_bits(size: float) -> None:
    """fp16 ends at 6e-8 and 65,504; without the power of two the small gradient would be 0, the large one
    infinite.
    """
    packed = packed_of((20, 30), (9,) * 8)
    generator = torch.Generator().manual_seed(0)
    length = packed.input_ids.shape[1]
    given = [torch.randn(heads, length, 16, generator=generator) for heads in (4, 2, 2)]
    weights = size * torch.randn(4, length, 16, generator=generator)
    blocks = blocks_of(packed)
    assert blocks is not None
    gradients = []
    for layout, format in ((groups_of(packed), FORMATS["fp16"]), (blocks, FP32)):
        parts = [part.clone().requires_grad_() for part in given]
        result = layout.attend(*parts, 0.25, None, format)
        assert result.dtype == torch.float32 and result.shape == given[0].shape
        gradients.append(torch.autograd.grad((result * weights).sum(), parts))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() < 2e-3 * theirs.norm()


def test_the_power_of_two_is_one() -> None:
    power = groups.PowerOfTwo()
    for largest, value in ((3e-9, 2.0**29), (0.75, 2.0), (1.0, 1.0), (70_000.0, 2.0**-16)):
        power.choose(torch.tensor([-largest, largest / 9]))
        assert power.value.item() == value
    power.choose(torch.zeros(3))
    assert power.value.isfinite()
    power.choose(torch.tensor([1.0, float("nan")]))
    assert not (power.value * 1.0).isfinite()  # the update is then skipped, as any that is not finite


def test_large_heads_get_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def kernel(query: Tensor, *_: Tensor, **settings: Any) -> Tensor:
        seen.append((settings["kernel_options"], settings["enable_gqa"]))
        return query

    monkeypatch.setattr(groups, "kernel", lambda _device: kernel)
    row: Groups = groups_of(packed_of((5,), (3,)))
    for width, heads in ((256, 1), (128, 4)):
        query = torch.zeros(4, row.length, width)
        row.attend(query, query[:heads], query[:heads], 1.0, None, FP32)
    assert seen == [(SMALL_TILES, True), (None, False)]


def test_layers_of_one_kind_share_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(groups, "kernel", lambda _device: dense_kernel)
    monkeypatch.setattr(groups, "mask_of", lambda row, window: made.append(window) or mask_of(row, window))
    gemma = tiny_gemma()
    use_blocks(gemma, GROUPS)
    completion_logps(gemma, packed_of((5, 19), (9, 9, 3, 4)))
    assert sorted(made, key=str) == [8, None]


def trial_of(format: str) -> tuple[Any, str]:
    one = tiny_gemma()
    use_format(one, FORMATS[format])
    return one, trouble_of_groups(one)


@pytest.mark.usefixtures("without_kernel")
def test_a_trial_takes_the_kernel_where_it_gives_what_blocks_give() -> None:
    for format in ("fp16", "bf16"):
        one, trouble = trial_of(format)
        assert trouble == "" and attention_name(one) == GROUPS
    for format in ("fp32", "bf16x2"):
        assert f"more than engine.number_format = {format}" in trial_of(format)[1]


def wrong(query: Tensor, *rest: Tensor, **settings: Any) -> Tensor:
    return dense_kernel(query, *rest, **settings).roll(1, dims=2)


def broken(*_: Tensor, **__: Any) -> Tensor:
    raise RuntimeError("out of resource: shared memory\nand much more")


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (wrong, "flex_attention is off here"),
        (broken, r"fails here \(RuntimeError: out of resource: shared memory\)"),
    ],
)
def test_a_kernel_that_fails_or_is_wrong_is_not_used(
    kernel: Callable, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "kernel", lambda _device: kernel)
    assert re.search(why, trial_of("fp16")[1])
    one = tiny_gemma()
    monkeypatch.setattr(attention_choice, "trouble_of_groups", lambda _model: "of this")
    assert choose_attention(one) == "by blocks" and attention_name(one) == NAME  # a CPU tries none


def test_torch_compiles_more_shapes_than_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._dynamo.config as settings

    with settings.patch({private_apis.SHAPES: 8}):
        assert callable(private_apis.compiled_for_shapes(dense_kernel))
        assert getattr(settings, private_apis.SHAPES) == private_apis.MOST_SHAPES > 8
        monkeypatch.setattr(private_apis, "SHAPES", "gone")
        assert callable(private_apis.compiled_for_shapes(dense_kernel))
