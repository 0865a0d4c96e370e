"""The pure parts of `make bench`: counts worked out by hand, slopes, the table's file. Nothing here looks at
a clock.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from tiny import byte_tokenizer, tiny_gemma, tiny_gpt2, tiny_llama

from benchmarks import counts
from benchmarks.ceilings import Ceilings
from benchmarks.counts import Lengths, ModelShape, uniform
from benchmarks.roofline import attainable, draw, points
from benchmarks.run import as_json, main
from benchmarks.slopes import grid, log_log_slope
from benchmarks.step import StepSize
from benchmarks.subject import Numerals, example
from benchmarks.timing import Row, difference
from data.prompt import Prompt

CEILINGS = Ceilings(64, (90.0, 100.0, 95.0), {"copy": 10.0, "read": 20.0, "gather": 5.0})
SHAPE = ModelShape(body=1000, head=200, parameters=1210, windows=(None, 3), heads=2, kv_heads=1, head_dim=5)


def row(**changes: object) -> Row:
    fields = {
        "name": "x",
        "seconds": 2.0,
        "spread": 0.1,
        "flops": 50.0,
        "bytes": 10.0,
        "traffic": "read",
        "page_faults": 4.0,
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def test_tiny_gemma_is_counted_by_hand() -> None:
    """Per layer: q and o 32 x 32, k and v 32 x 8, three gated matrices 32 x 64; norms have one dimension, the
    tied table is the head.
    """
    shape = counts.shape_of(tiny_gemma())
    assert shape.body == 3 * (2 * 32 * 32 + 2 * 32 * 8 + 3 * 32 * 64)
    assert shape.head == 259 * 32
    assert shape.windows == (8, None, 8)
    assert (shape.heads, shape.kv_heads, shape.head_dim) == (4, 1, 8)
    assert shape.parameters == sum(parameter.numel() for parameter in tiny_gemma().parameters())


def test_an_untied_input_table_and_learned_positions_are_no_matrices() -> None:
    llama = counts.shape_of(tiny_llama())
    gpt2 = counts.shape_of(tiny_gpt2())
    assert llama.body == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    assert llama.head == 259 * 32
    assert llama.windows == (None, None)
    assert gpt2.body == 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128)


def test_visible_keys_equal_a_mask_that_is_added_up() -> None:
    place = torch.arange(12)
    for window in (None, 1, 4, 50):
        distance = place[:, None] - place[None, :]
        mask = (distance >= 0) & (distance < (window or 12))
        assert counts.visible_keys(0, 12, window) == int(mask.sum())
        assert counts.visible_keys(7, 5, window) == int(mask[7:].sum())


def test_forward_pass_by_hand() -> None:
    """A prompt of 4 with completions of 3 and 1 tokens: 4 + 2 tokens pass, 1 + 2 places predict.

    Keys without a window: 1 + 2 + 3 + 4 for the prompt, 5 + 6 for the tail; with a window of 3: 1 + 2 + 3 + 3
    and 3 + 3.
    """
    lengths = Lengths((4,), ((3, 1),))
    assert (lengths.unique, lengths.predictions) == (6, 3)
    attention = 4 * 2 * 5 * (10 + 11 + 9 + 6)
    forward = 2 * 1000 * 6 + 2 * 200 * 3 + attention
    assert counts.forward_flops(SHAPE, lengths) == forward
    assert counts.step_flops(SHAPE, lengths) == {
        "rollout": forward,
        "reward": 0,
        "score": forward,
        "update": 3 * forward,
    }


@pytest.mark.parametrize("group", [1, 3])
def test_prefill_and_decode_steps_add_up_to_a_rollout(group: int) -> None:
    prompts = (4, 4)
    new = 5
    steps = [counts.decode_flops(SHAPE, prompts, group, place) for place in range(new - 1)]
    lengths = uniform(2, 4, group, new)
    assert counts.prefill_flops(SHAPE, lengths) + sum(steps) == counts.forward_flops(SHAPE, lengths)


def test_prompt_keys_are_read_once_a_group() -> None:
    """Two layers, one with a window of 3 keys; a key and a value of 5 numbers are 40 bytes."""
    assert counts.decode_bytes(SHAPE, [4], 1, 2) == 4 * 1200 + 40 * ((4 + 2) + (3 + 2))
    assert counts.decode_bytes(SHAPE, [4], 8, 2) - counts.decode_bytes(SHAPE, [4], 1, 2) == 40 * 2 * 7 * 2


def test_optimiser_touches_thirty_two_bytes_a_parameter() -> None:
    assert counts.optimiser_bytes(SHAPE) == 32 * 1210


def test_bound_is_the_slower_of_products_and_memory() -> None:
    assert row().of_product_rate(CEILINGS) == 50 / 2 / 100
    assert row().of_bound(CEILINGS) == pytest.approx(0.5 / 2)  # 10 bytes at 20 a second
    assert row(traffic="gather").of_bound(CEILINGS) == pytest.approx(2 / 2)
    assert row(flops=150.0).of_bound(CEILINGS) == pytest.approx(1.5 / 2)


def test_difference_is_one_part_of_what_was_added() -> None:
    step = difference("step", row(seconds=5.0, page_faults=20.0), row(), 3, 7.0, 9.0)
    assert (step.seconds, step.flops, step.bytes) == (1.0, 7.0, 9.0)
    assert step.page_faults == pytest.approx(16 / 3)
    assert step.spread == pytest.approx((0.1 * 5 + 0.1 * 2) / 3)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_slope_of_a_power_law_is_its_power(power: float) -> None:
    sizes = [4, 8, 16]
    assert log_log_slope(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_a_fixed_cost_flattens_the_slope() -> None:
    assert log_log_slope([1, 2, 4], [11, 12, 14]) < 0.2
    assert log_log_slope([1, 2, 4], [1, 2, 8]) == pytest.approx(math.log(8) / math.log(4))


def test_slopes_change_one_size_at_a_time() -> None:
    base = StepSize(prompts=4, group=4, new=16, prompt=30, max_tokens=640)
    sizes = grid(base)
    assert [size.group for size in sizes["group"]] == [4, 8, 16]
    assert [size.prompts for size in sizes["prompts"]] == [4, 8, 16]
    assert [size.new for size in sizes["new"]] == [16, 32, 64]
    assert all(found[0] == base for found in sizes.values())


def test_prompts_have_the_asked_ids_and_nothing_ends_a_completion() -> None:
    tokenizer = Numerals(byte_tokenizer())
    ids = [5, 17, 200, 4]
    assert Prompt.of(tokenizer).encode_prompt(example(ids)) == ids  # type: ignore[arg-type]
    assert Prompt.of(tokenizer).stops == (-1,)  # type: ignore[arg-type]
    letters = byte_tokenizer().encode("ab", add_special_tokens=False)
    assert Prompt.of(tokenizer).decode_completion(letters) == "ab"  # type: ignore[arg-type]


def test_roof_bends_where_memory_keeps_up() -> None:
    assert attainable(4.9, 20.0, 100.0) == pytest.approx(98.0)
    assert attainable(5.1, 20.0, 100.0) == 100.0
    assert points([row(), row(flops=0.0), row(bytes=0.0)]) == [("x", 5.0, 25.0)]


def test_plot_is_a_picture(tmp_path: Path) -> None:
    draw([row(), row(name="y", flops=4000.0)], CEILINGS, tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_rows_without_products_or_bytes_have_no_share_of_them() -> None:
    assert as_json(row(flops=0.0), CEILINGS)["of_product_rate"] is None
    assert as_json(row(bytes=0.0), CEILINGS)["of_bound"] is None
    assert as_json(row(), CEILINGS)["of_product_rate"] == 0.25


def test_quick_bench_writes_every_row_and_the_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--quick", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "bench.json").read_text())
    names = [line["name"] for line in written["pieces"]]
    for start in (
        "advantages", "loss", "cosine kernel", "embedding cache locates", "embedding cache embeds", "body products", "head product",
        "prefill", "decode step, 2 rows", "decode step, 16 rows", "packing", "log-probs forward,", "log-probs forward, backward",
        "optimiser", "warm-start",
    ):  # fmt: skip
        assert any(name.startswith(start) for name in names), start
    assert [line["name"] for line in written["step"]] == ["rollout", "reward", "score", "update", "step"]
    step = {line["name"]: line["flops"] for line in written["step"]}
    assert step["step"] == 5 * step["rollout"] == 5 * step["score"]
    assert len(written["ceilings"]["product_samples"]) == 3
    assert written["ceilings"]["product_rate"] == max(written["ceilings"]["product_samples"])
    assert (tmp_path / "roofline.png").stat().st_size > 1000
    assert "of product" in capsys.readouterr().out


def test_quick_slopes_are_written(tmp_path: Path) -> None:
    main(["--quick", "--slopes", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "slopes.json").read_text())
    assert [slope["dimension"] for slope in written["slopes"]] == ["group", "prompts", "new"]
    assert all(math.isfinite(value) for slope in written["slopes"] for value in slope["slopes"].values())
