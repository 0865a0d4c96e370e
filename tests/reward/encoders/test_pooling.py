"""Pooling: hand-computed numbers, and nothing from under the mask."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward.encoders.pooling import POOLINGS, blank_row, pool

HIDDEN = torch.tensor([[[1.0, 8.0], [3.0, 2.0], [2.0, 5.0], [99.0, -99.0]]])
EXPECTED = {
    "cls": [1.0, 8.0],
    "max": [3.0, 8.0],
    "mean": [2.0, 5.0],
    "mean_sqrt_len_tokens": [6 / 3**0.5, 15 / 3**0.5],
    "weightedmean": [(1 + 6 + 6) / 6, (8 + 4 + 15) / 6],
    "lasttoken": [2.0, 5.0],
}
AFTER_THE_FIRST = {
    "cls": [3.0, 2.0],
    "max": [3.0, 5.0],
    "mean": [2.5, 3.5],
    "mean_sqrt_len_tokens": [5 / 2**0.5, 7 / 2**0.5],
    # a token keeps its position when the prompt in front does not count
    "weightedmean": [(6 + 6) / 5, (4 + 15) / 5],
    "lasttoken": [2.0, 5.0],
}


@pytest.mark.parametrize("name", POOLINGS)
def test_equals_the_hand_computed_numbers(name: str) -> None:
    torch.testing.assert_close(pool(HIDDEN, torch.tensor([3]), [name])[0], torch.tensor(EXPECTED[name]))
    torch.testing.assert_close(
        pool(HIDDEN, torch.tensor([3]), [name], skip=1)[0], torch.tensor(AFTER_THE_FIRST[name])
    )


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("name", POOLINGS)
def test_garbage_under_the_mask_cannot_be_seen(name: str, garbage: float) -> None:
    with_garbage = HIDDEN.clone()
    with_garbage[:, 3:] = garbage
    assert torch.equal(pool(with_garbage, torch.tensor([3]), [name]), pool(HIDDEN, torch.tensor([3]), [name]))


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 4), st.sampled_from(sorted(POOLINGS))
)
def test_padding_changes_nothing(lengths: list[int], more: int, name: str) -> None:
    hidden = torch.randn(len(lengths), 6, 3, generator=torch.Generator().manual_seed(len(lengths)))
    wider = torch.cat([hidden, torch.full((len(lengths), more, 3), torch.nan)], dim=1)
    torch.testing.assert_close(
        pool(wider, torch.tensor(lengths), [name]), pool(hidden, torch.tensor(lengths), [name])
    )


def test_several_poolings_stand_side_by_side_in_the_order_given() -> None:
    assert pool(HIDDEN, torch.tensor([3]), ["lasttoken", "cls"]).tolist() == [[2.0, 5.0, 1.0, 8.0]]


@pytest.mark.parametrize("name", POOLINGS)
def test_text_that_is_all_prompt_counts_by_its_last_token(name: str) -> None:
    row = pool(HIDDEN, torch.tensor([2]), [name], skip=7)[0]
    assert torch.isfinite(row).all() and row[0] > 0
    assert torch.allclose(row / row.norm(), torch.tensor([3.0, 2.0]) / 13**0.5)


@pytest.mark.parametrize("dim", [1, 2, 7, 512])
def test_blank_row_is_a_unit_row(dim: int) -> None:
    assert blank_row(dim).shape == (dim,) and blank_row(dim).norm().item() == pytest.approx(1, abs=1e-6)
