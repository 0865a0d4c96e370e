"""The semantic term: the equation of the paper, and nothing for a completion that says nothing."""

import doctest
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reward.cosine as module
from reward.cosine import cosine, cosine_raw, paired_cosine, rescaled


def directions(texts: Sequence[str]) -> Tensor:
    """Invented embedding: number of '甲' and of '乙'."""
    return torch.tensor([[text.count("甲"), text.count("乙")] for text in texts], dtype=torch.float32)


def test_docstring_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_paired_cosine_equals_the_textbook() -> None:
    a, b = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    expected = [sum(x * y for x, y in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v)) for u, v in pairs]
    torch.testing.assert_close(paired_cosine(a, b), torch.tensor(expected), atol=1e-7, rtol=0)


def test_a_vector_against_itself_is_exactly_one() -> None:
    rows = torch.nn.functional.normalize(torch.randn(1000, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.equal(paired_cosine(rows, rows), torch.ones(1000))
    assert torch.equal(paired_cosine(rows, -rows), -torch.ones(1000))


def test_a_zero_vector_has_cosine_zero() -> None:
    assert paired_cosine(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [0.0]


@pytest.mark.parametrize("shapes", [((2, 3), (3, 3)), ((2, 3), (2, 4)), ((3,), (3,))])
def test_paired_cosine_refuses_other_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        paired_cosine(torch.ones(shapes[0]), torch.ones(shapes[1]))


def test_rescaled_by_hand() -> None:
    values = rescaled(torch.tensor([-1.0, 0.0, 0.3, 0.4, 0.65, 1.0]), 0.3)
    assert torch.equal(values[:2], torch.zeros(2)) and values[2] < 1e-7 and values[5] == 1
    torch.testing.assert_close(values[3:5], torch.tensor([1 / 7, 0.5]))
    assert values.dtype == torch.float32


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.floats(-1, 0.99))
def test_rescaled_stays_in_bounds_and_in_order(cosines: list[float], threshold: float) -> None:
    values = rescaled(torch.tensor(sorted(cosines)), threshold)
    assert values.min() >= 0 and values.max() <= 1
    assert bool((values.diff() >= 0).all())


@pytest.mark.parametrize("threshold", [1.0, 1.5, -1.01, math.nan])
def test_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"reward.threshold=.* must lie in \[-1, 1\)"):
        rescaled(torch.zeros(1), threshold)


def test_term_embeds_once_and_pairs_rows() -> None:
    calls: list[list[str]] = []

    def embed(texts: Sequence[str]) -> Tensor:
        calls.append(list(texts))
        return directions(texts)

    values = cosine(["s", "s"], ["甲甲", "甲乙"], ["甲", "甲"], embed=embed, threshold=0.5)
    assert calls == [["甲甲", "甲乙", "甲", "甲"]]
    torch.testing.assert_close(values, torch.tensor([1.0, (math.sqrt(0.5) - 0.5) / 0.5]))


@pytest.mark.parametrize("nothing", ["", "  ", "\n", "。", "，！", "...", "——"])
def test_completion_without_letter_or_digit_earns_nothing(nothing: str) -> None:
    values = cosine_raw(["s"], [nothing], ["x"], embed=lambda texts: torch.ones(len(texts), 2))
    assert values.tolist() == [0.0]


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="one length, got 1, 2, 2"):
        cosine(["s"], ["a", "b"], ["a", "b"], embed=directions, threshold=0.0)
