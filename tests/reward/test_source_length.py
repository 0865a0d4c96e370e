"""The length against the source: bounds of known ratios, and the guard by hand with and without reference texts."""

import math

import pytest

from data.errors import InputError
from reward.combine import RewardConfig, make_reward, terms_with_references
from reward.source_length import measure_bounds, source_length


def words(count: int) -> str:
    return " ".join("abcdefghijklmnopqrst"[:count])


def guard(completion: int, *references: int, **settings: float) -> float:
    texts = [[words(count) for count in references]]
    bounds = (0.5, 2.0)
    return source_length([words(3)], [words(completion)], texts, length_bounds=bounds, **settings).item()


def test_bounds_are_quantiles_of_the_ratio() -> None:
    pairs = [(words(3), words(count)) for count in range(1, 20)] * 6  # ratios 2/4, 3/4 ... 20/4
    low, high = measure_bounds(pairs)
    assert (low, high) == (0.5, 5.0)
    with pytest.raises(InputError, match="19 pairs are too few"):
        measure_bounds(pairs[:19])


def test_the_guard_by_hand() -> None:
    assert guard(1) == guard(3) == guard(7) == 1.0  # ratios 2/4, 1, 8/4
    assert guard(15) == pytest.approx(math.exp(-1), abs=1e-6)  # 16/4 is twice the upper bound
    assert guard(0) == pytest.approx(math.exp(-1), abs=1e-6)  # 1/4 is half of the lower one
    assert guard(15, alpha=0.5) == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert guard(15, 15) == 1.0 and guard(15, 3) == pytest.approx(math.exp(-1), abs=1e-6)
    assert guard(0, 15) == pytest.approx(math.exp(-1), abs=1e-6)


def test_it_needs_no_reference_text_and_measures_only_where_no_bounds_are_given() -> None:
    config = RewardConfig(weights={"source_length": 1.0}, gates=(), shown=())
    assert terms_with_references(config) == []
    reward = make_reward(config, {"length_bounds": lambda: (0.5, 2.0)})
    assert reward([words(3)], [words(3)], [[]], 1)[0].tolist() == [[1.0]]
    given = RewardConfig(
        weights={"source_length": 1.0}, gates=(), shown=(),
        settings={"source_length": {"length_bounds": (1.0, 1.0), "alpha": 1.0}},
    )  # fmt: skip
    reward = make_reward(given, {"length_bounds": lambda: pytest.fail("was measured")})
    assert reward([words(3)], [words(7)], [[]], 1)[0].item() == pytest.approx(math.exp(-1), abs=1e-6)


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (0.0, 1.0), (1.0,)])
def test_bounds_that_are_none_are_named(bounds: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"source_length\.length_bounds"):
        source_length(["a"], ["b"], [["c"]], length_bounds=bounds)
