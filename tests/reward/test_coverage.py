"""Coverage: greedy matches by hand, with and without weights, for something left out and something added."""

import math
from collections.abc import Sequence

import pytest
import torch
from plain_vectors import PlainVectors
from torch import Tensor

from data.errors import InputError
from reward.coverage import coverage, coverage_idf, coverage_source, greedy_f1, idf_weights
from reward.hubness import build_bank

WORDS = {"cat": (1.0, 0.0), "puss": (0.8, 0.6), "dog": (0.0, 1.0), "tree": (-1.0, 0.0)}


def points(texts: Sequence[str]) -> Tensor:
    return torch.tensor([WORDS[text] for text in texts]).view(-1, 2)


def score(completion: str, *references: str, **settings) -> float:
    values = coverage([""], [completion], [references], vectors=PlainVectors(points), **settings)
    assert values.dtype == torch.float32 and values.shape == (1,)
    return values.item()


def test_f1_by_hand() -> None:
    similarities = torch.tensor([[1.0, 0.2], [0.4, 0.0]], dtype=torch.float64)
    recall = (3 * 1.0 + 1 * 0.4) / 4
    precision = (1 * 1.0 + 2 * 0.2) / 3
    value = greedy_f1(similarities, torch.tensor([3.0, 1.0]).double(), torch.tensor([1.0, 2.0]).double())
    assert value == pytest.approx(2 * recall * precision / (recall + precision), abs=1e-12)
    assert greedy_f1(torch.zeros(2, 2).double(), torch.ones(2).double(), torch.ones(2).double()) == 0.0


def test_left_out_and_added_words_cost_by_hand() -> None:
    """Cosines: cat-puss 0.8, puss-dog 0.6, cat-dog 0, tree-cat -1; above 0.3 rescaled to 5/7 and 3/7."""
    assert score("cat dog", "cat dog") == 1.0
    assert score("dog cat", "cat dog") == 1.0  # order is judged elsewhere
    left_out = 2 * 0.5 * 1 / 1.5  # recall 1/2, precision 1
    assert score("cat", "cat dog") == pytest.approx(left_out, abs=1e-6)
    assert score("cat tree", "cat") == pytest.approx(left_out, abs=1e-6)  # added: the mirror image
    assert score("puss", "cat") == pytest.approx(5 / 7, abs=1e-6)
    recall, precision = (5 / 7 + 3 / 7) / 2, 5 / 7
    assert score("puss", "cat dog") == pytest.approx(2 * recall * precision / (recall + precision), abs=1e-6)
    assert score("puss", "cat", floor=0.0) == pytest.approx(0.8, abs=1e-6)
    assert score("puss", "dog", "cat") == pytest.approx(5 / 7, abs=1e-6)  # the best reference text
    assert score("", "cat") == score("...", "cat") == 0.0


def test_the_source_can_be_matched_without_a_reference_text() -> None:
    values = coverage_source(["cat", "tree"], ["puss"] * 2, [[], []], vectors=PlainVectors(points))
    torch.testing.assert_close(values, torch.tensor([5 / 7, 0.0]))


def test_rare_words_weigh_more_by_hand() -> None:
    texts = ["cat dog", "cat puss", "cat"]
    weights = idf_weights(texts)
    assert weights == {"cat": 0.0, "dog": math.log(2), "puss": math.log(2)}
    vectors = PlainVectors(points)
    bank = build_bank(PlainVectors(lambda texts: torch.eye(2)[[len(text) % 2 for text in texts]]), texts)
    values = coverage_idf(
        [""] * 3, ["cat", "dog", "cat dog"], [["cat dog"]] * 3, vectors=vectors, bank=bank, floor=0.3
    )
    # "cat" has weight 0: recall 0; "dog": recall and precision 1
    torch.testing.assert_close(values, torch.tensor([0.0, 1.0, 1.0]))


def test_a_pair_does_not_depend_on_the_others() -> None:
    alone = score("puss", "cat dog")
    many = coverage(
        [""] * 3, ["tree", "puss", "cat"], [["dog"], ["cat dog"], ["puss"]], vectors=PlainVectors(points)
    )
    assert many[1].item() == alone


def test_a_floor_that_leaves_nothing_is_named() -> None:
    with pytest.raises(InputError, match=r"coverage\.floor = 1\.0"):
        score("cat", "cat", floor=1.0)
