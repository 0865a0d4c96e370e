"""The cosine kernel: right to fp32, the same bit for bit in whatever company a pair is computed, nothing read
outside the matrix.
"""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reward.kernel as module
from reward.kernel import _in_blocks, ragged_cosines, soft_maximum

DIMS = [1, 2, 7, 31, 384, 512, 513, 768]
NUMBERS = st.integers(0, 2**31 - 1)


def unit(count: int, dim: int, generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)


def problem(
    count: int, dim: int, *, most: int = 9, size: int = 50, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Completions, matrix, rows and offsets with 1 to `most` references each, unsorted and with repeats."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, most + 1, (count,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    rows = torch.randint(0, size, (int(offsets[-1]),), generator=generator)
    return unit(count, dim, generator), unit(size, dim, generator), rows, offsets


def in_fp64(completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """The plain formula: gather, multiply, sum."""
    owners = torch.repeat_interleave(torch.arange(len(completions)), offsets.diff())
    return (completions.double()[owners] * matrix.double()[rows]).sum(dim=1)


def regroup(
    order: list[int], completions: Tensor, matrix: Tensor, rows: Tensor, offsets: Tensor
) -> tuple[Tensor, ...]:
    """The problem of the completions `order` alone, and the places of its pairs in the whole one."""
    places = torch.cat([torch.arange(int(offsets[i]), int(offsets[i + 1])) for i in order])
    ends = torch.stack([offsets[i + 1] - offsets[i] for i in order]).cumsum(0)
    return (
        completions[order],
        matrix,
        rows[places],
        torch.cat([torch.zeros(1, dtype=torch.int64), ends]),
        places,
    )


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("count", [1, 2, 5, 64, 300])
def test_equals_the_formula_in_fp64(count: int, dim: int) -> None:
    parts = problem(count, dim, seed=count * dim)
    cosines = ragged_cosines(*parts)
    assert cosines.dtype == torch.float32 and cosines.shape == parts[2].shape
    assert (cosines - in_fp64(*parts)).abs().max() <= 5e-7


@pytest.mark.parametrize("dim", DIMS)
def test_bits_do_not_depend_on_the_batch(dim: int) -> None:
    """Shuffled, alone, twice, first of a thousand: the same 32 bits."""
    parts = problem(200, dim, seed=dim)
    whole = ragged_cosines(*parts)
    in_other_order = torch.randperm(200, generator=torch.Generator().manual_seed(1)).tolist()
    for order in [in_other_order, in_other_order[:7], [5], [5] * 3, [199, 0, 199], list(range(200)) * 5]:
        *part, places = regroup(order, *parts)
        assert torch.equal(ragged_cosines(*part), whole[places])


@settings(deadline=None, max_examples=40)
@given(
    NUMBERS,
    st.sampled_from(DIMS),
    st.integers(1, 40),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=60),
)
def test_bits_do_not_depend_on_any_regrouping(seed: int, dim: int, count: int, picks: list[int]) -> None:
    parts = problem(count, dim, seed=seed)
    *part, places = regroup([pick % count for pick in picks], *parts)
    assert torch.equal(ragged_cosines(*part), ragged_cosines(*parts)[places])


def test_bits_do_not_depend_on_the_place_in_the_matrix_or_on_threads() -> None:
    """Nor on where a vector begins in memory: 7 numbers a row start at every alignment."""
    generator = torch.Generator().manual_seed(0)
    for dim in (7, 512):
        vector = unit(1, dim, generator)
        other = unit(1, dim, generator)
        matrix = other.repeat(64, 1)
        rows = torch.arange(64)
        assert len(ragged_cosines(vector.repeat(64, 1), matrix, rows, torch.arange(65)).unique()) == 1
    parts = problem(2000, 64, size=500)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(ragged_cosines(*parts))
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("dim", DIMS)
def test_blocks_give_the_same_cosines_and_keep_their_bits(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of an accelerator, on the CPU: more than one block, the last one not full."""
    monkeypatch.setattr(module, "BLOCK", 64)
    parts = problem(100, dim, seed=dim)
    whole = _in_blocks(*parts)
    assert whole.shape == parts[2].shape and (whole - ragged_cosines(*parts)).abs().max() <= 1e-6
    for order in [list(range(99, -1, -1)), [3], [7, 7, 7], list(range(100)) * 3]:
        *part, places = regroup(order, *parts)
        assert torch.equal(_in_blocks(*part), whole[places])


@pytest.mark.gpu
def test_accelerator_gives_the_same_cosines_and_keeps_their_bits() -> None:
    if not torch.accelerator.is_available():
        pytest.skip("no accelerator here")
    device = torch.accelerator.current_accelerator()
    for dim in DIMS:
        parts = problem(2000, dim, seed=dim)
        whole = ragged_cosines(*(part.to(device) for part in parts)).cpu()
        assert (whole - ragged_cosines(*parts)).abs().max() <= 1e-6
        *part, places = regroup([1999, 7, 7, 0], *parts)
        assert torch.equal(ragged_cosines(*(tensor.to(device) for tensor in part)).cpu(), whole[places])


def test_order_within_a_segment_and_repeats_do_not_matter() -> None:
    completions, matrix, _, _ = problem(1, 512)
    rows = torch.tensor([40, 3, 3, 49, 0, 3])
    cosines = ragged_cosines(completions, matrix, rows, torch.tensor([0, 6]))
    singly = torch.cat([ragged_cosines(completions, matrix, row[None], torch.tensor([0, 1])) for row in rows])
    assert torch.equal(cosines, singly) and len(cosines.unique()) == 4


def test_int32_rows_and_offsets_are_taken() -> None:
    completions, matrix, rows, offsets = problem(9, 16)
    assert torch.equal(
        ragged_cosines(completions, matrix, rows.int(), offsets.int()),
        ragged_cosines(completions, matrix, rows, offsets),
    )


def test_nothing_in_nothing_out() -> None:
    assert ragged_cosines(
        torch.empty(0, 4), torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.tensor([0])
    ).shape == (0,)
    for softness in (0.0, 1.0):
        assert soft_maximum(torch.empty(0), torch.tensor([0]), softness).shape == (0,)


def test_cosines_stay_in_bounds_and_inputs_as_they_were() -> None:
    """fp32 unit vectors times themselves round to 1.0000001 now and then."""
    completions, matrix, _, _ = problem(1000, 512, size=1000)
    matrix[:] = completions
    before = matrix.clone()
    cosines = ragged_cosines(completions, matrix, torch.arange(1000), torch.arange(1001))
    assert cosines.max() == 1 and cosines.min() > 1 - 5e-7
    assert ragged_cosines(completions, -matrix, torch.arange(1000), torch.arange(1001)).min() == -1
    assert torch.equal(matrix, before) and torch.equal(completions, before)


def test_vectors_that_carry_a_gradient_are_taken_without() -> None:
    completions, matrix, rows, offsets = problem(3, 8)
    assert not ragged_cosines(completions.requires_grad_(), matrix, rows, offsets).requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completions": torch.ones(2, 3)}, r"completions \(N, D\) and matrix \(R, D\) are needed, got \(2, 3\) and \(5, 4\)"),
        ({"completions": torch.ones(4)}, r"are needed, got \(4,\) and \(5, 4\)"),
        ({"completions": torch.ones(2, 4).double()}, "fp32 vectors and a contiguous matrix are needed, got torch.float64"),
        ({"matrix": torch.ones(5, 4).half()}, "got torch.float32 and torch.float16"),
        ({"matrix": torch.ones(4, 5).t()}, r"contiguous matrix are needed, got .* \(1, 5\)"),
        ({"rows": torch.ones(3, 1).long()}, r"rows \(K,\) and offsets \(N \+ 1,\) are needed, got \(3, 1\) and \(3,\)"),
        ({"offsets": torch.tensor([0, 3])}, r"are needed, got \(3,\) and \(2,\)"),
        ({"offsets": torch.tensor([0, 3, 3])}, r"rise from 0 to 3, each segment with at least one member, got \[0, 3, 3\]"),
        ({"offsets": torch.tensor([1, 2, 3])}, r"got \[1, 2, 3\]"),
        ({"offsets": torch.tensor([0, 2, 4])}, r"rise from 0 to 3.*got \[0, 2, 4\]"),
        ({"offsets": torch.tensor([0, 4, 3])}, r"got \[0, 4, 3\]"),
        ({"rows": torch.tensor([0, 5, 1])}, r"rows must lie in \[0, 5\), got 0 to 5"),
        ({"rows": torch.tensor([0, -1, 1])}, "got -1 to 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes: dict[str, Tensor], message: str) -> None:
    fitting = {"completions": torch.ones(2, 4), "matrix": torch.ones(5, 4), "rows": torch.tensor([0, 4, 1])}
    with pytest.raises(ValueError, match=message):
        ragged_cosines(**fitting | {"offsets": torch.tensor([0, 1, 3])} | changes)


def test_beta_notice_of_sparse_tensors_is_not_passed_on() -> None:
    code = "import torch; from reward.kernel import ragged_cosines; one = torch.ones(1, 1)\n"
    code += "print(ragged_cosines(one, one, torch.tensor([0]), torch.tensor([0, 1])))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("tensor([1.])\n", 0), done.stderr


def test_largest_reference_by_hand() -> None:
    values = soft_maximum(torch.tensor([0.1, 0.9, -0.5, -0.2, 0.3]), torch.tensor([0, 2, 4, 5]), 0.0)
    assert torch.equal(values, torch.tensor([0.9, -0.2, 0.3])) and values.dtype == torch.float32


def test_soft_maximum_by_hand() -> None:
    """Cosines 0.5 and 0 at softness 0.25: weights e^2 : 1."""
    values = soft_maximum(torch.tensor([0.0, 0.5, 0.5, 0.5, -1.0]), torch.tensor([0, 2, 4, 5]), 0.25)
    torch.testing.assert_close(values, torch.tensor([0.5 * math.exp(2) / (math.exp(2) + 1), 0.5, -1.0]))


SEGMENTS = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9), min_size=1, max_size=12)


def flat(segments: list[list[float]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([0, *map(len, segments)])
    return torch.tensor([value for segment in segments for value in segment]), lengths.cumsum(0)


@settings(deadline=None)
@given(SEGMENTS, st.sampled_from([1e-300, 1e-9, 1e-3, 0.05, 1.0, 1e6]))
def test_soft_maximum_lies_between_least_and_largest(segments: list[list[float]], softness: float) -> None:
    values = soft_maximum(*flat(segments), softness)
    least, largest = (torch.tensor([f(segment) for segment in segments]) for f in (min, max))
    assert bool((least <= values).all()) and bool((values <= largest).all())
    for value, segment in zip(values.tolist(), segments, strict=True):
        assert len(segment) > 1 or value == segment[0]
        weights = [math.exp((s - max(segment)) / softness) for s in segment]
        expected = sum(w * s for w, s in zip(weights, segment, strict=True)) / sum(weights)
        assert value == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(SEGMENTS, st.sampled_from([0.0, 0.05]))
def test_segment_does_not_depend_on_its_neighbours(segments: list[list[float]], softness: float) -> None:
    alone = torch.cat([soft_maximum(*flat([segment]), softness) for segment in segments])
    assert torch.equal(soft_maximum(*flat(segments), softness), alone)


def test_soft_maximum_goes_from_the_largest_to_the_mean() -> None:
    cosines = torch.tensor([0.2, 0.6, 0.7])
    offsets = torch.tensor([0, 3])
    values = [
        soft_maximum(cosines, offsets, softness).item() for softness in (0.0, 1e-6, 0.01, 0.1, 1.0, 1e9)
    ]
    assert values[0] == values[1] and values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("softness", [0.0, 0.1])
def test_what_is_not_a_number_stays_in_its_own_segment(softness: float) -> None:
    values = soft_maximum(
        torch.tensor([math.nan, 0.5, 0.5, 0.25, 0.25, 0.25]), torch.tensor([0, 1, 3, 6]), softness
    )
    assert values[0].isnan() and values[1:].tolist() == [0.5, 0.25]


@pytest.mark.parametrize("softness", [-0.1, math.nan, math.inf])
def test_softness_out_of_range_is_refused(softness: float) -> None:
    with pytest.raises(
        ValueError,
        match=r"reward.softness=.* must be 0 \(the largest cosine counts\) or a finite positive number",
    ):
        soft_maximum(torch.ones(1), torch.tensor([0, 1]), softness)


def test_empty_segment_has_no_largest() -> None:
    with pytest.raises(
        ValueError, match=r"rise from 0 to 2, each segment with at least one member, got \[0, 0, 2\]"
    ):
        soft_maximum(torch.ones(2), torch.tensor([0, 0, 2]), 0.0)
