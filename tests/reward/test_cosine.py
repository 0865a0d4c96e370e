"""The semantic term: the equation of the paper, and nothing for a completion that says nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_vectors import PlainVectors, counts

from reward.cosine import cosine, cosine_empty, cosine_held_out, cosine_raw, rescale

HALF = math.sqrt(0.5)


def test_rescaled_by_hand() -> None:
    values = rescale(torch.tensor([-1.0, 0.0, 0.3, 0.4, 0.65, 1.0]), 0.3)
    assert torch.equal(values[:2], torch.zeros(2)) and values[2] < 1e-7 and values[5] == 1
    torch.testing.assert_close(values[3:5], torch.tensor([1 / 7, 0.5]))
    assert values.dtype == torch.float32


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.floats(-1, 0.99))
def test_rescaled_stays_in_bounds_and_in_order(cosines: list[float], threshold: float) -> None:
    values = rescale(torch.tensor(sorted(cosines)), threshold)
    assert values.min() >= 0 and values.max() <= 1
    assert bool((values.diff() >= 0).all())


@pytest.mark.parametrize("threshold", [1.0, 1.5, -1.01, math.nan])
def test_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"reward.threshold=.* must lie in \[-1, 1\)"):
        rescale(torch.zeros(1), threshold)


def test_term_pairs_rows_and_embeds_completions_once() -> None:
    vectors = PlainVectors(counts)
    values = cosine(["s", "s"], ["甲甲", "甲乙"], [["甲"], ["甲"]], vectors=vectors, threshold=0.5)
    assert vectors.calls == [["甲甲", "甲乙"]] and vectors.texts == ["甲"]
    torch.testing.assert_close(values, torch.tensor([1.0, (HALF - 0.5) / 0.5]))


def test_the_nearest_of_several_references_counts() -> None:
    values = cosine_raw(
        ["s"] * 3,
        ["甲", "甲", "甲乙"],
        [["乙", "甲甲"], ["乙"], ["甲", "乙", "甲乙"]],
        vectors=PlainVectors(counts),
    )
    torch.testing.assert_close(values, torch.tensor([1.0, 0.0, 1.0]))


def test_softness_mixes_the_references() -> None:
    """Cosines 1 and 0 at softness 1: e / (e + 1)."""
    values = cosine_raw(["s"], ["甲"], [["乙", "甲甲"]], vectors=PlainVectors(counts), softness=1.0)
    assert values.item() == pytest.approx(math.e / (math.e + 1), abs=1e-6)


def test_a_reference_text_itself_has_exactly_one() -> None:
    """A fp32 unit vector times itself is 1 only to 1e-7, and 2.4999998 is not the full reward."""
    vectors = PlainVectors(
        lambda texts: torch.randn(len(texts), 512, generator=torch.Generator().manual_seed(len(texts)))
    )
    texts = [f"文{number}" for number in range(50)]
    assert (
        cosine_raw(texts, texts, [[text, "别的"] for text in texts], vectors=vectors).tolist() == [1.0] * 50
    )


@pytest.mark.parametrize("nothing", ["", "  ", "\n", "。", "，！", "...", "——"])
def test_completion_without_letter_or_digit_earns_nothing(nothing: str) -> None:
    vectors = PlainVectors(lambda texts: torch.ones(len(texts), 2))
    assert cosine_raw(["s"], [nothing], [["x"]], vectors=vectors).tolist() == [0.0]
    assert cosine_empty(["s"], [nothing], [["x"]], vectors=vectors).item() == pytest.approx(1.0)


def test_held_out_is_the_plain_cosine_of_another_encoder() -> None:
    arguments = (["s"], ["甲乙"], [["甲"]])
    assert torch.equal(
        cosine_held_out(*arguments, held_out=PlainVectors(counts)),
        cosine_raw(*arguments, vectors=PlainVectors(counts)),
    )


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="one length, got 1, 2, 2"):
        cosine(["s"], ["a", "b"], [["a"], ["b"]], vectors=PlainVectors(counts), threshold=0.0)


@pytest.mark.parametrize("references", ["甲", []])
def test_a_row_without_a_list_of_references_is_refused(references: object) -> None:
    with pytest.raises(ValueError, match="row 1: reference texts are a list of at least one text, got"):
        cosine_raw(["s"] * 2, ["a"] * 2, [["a"], references], vectors=PlainVectors(counts))  # type: ignore[list-item]
