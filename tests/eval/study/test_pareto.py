"""Front, area and tax at an equal gain: all numbers here were computed by hand."""

import math

import numpy as np
import pytest

from eval.study.pareto import front, hypervolume, tax_at

GAINS = np.array([0.0, 1.0, 2.0, 2.0, 3.0])
TAXES = np.array([0.1, 0.05, 0.2, 0.3, 0.2])


def test_front_keeps_what_nothing_dominates_and_the_first_of_equals() -> None:
    assert front(GAINS, TAXES) == [1, 4]  # 0 loses to 1, 2 to 4 (same tax, more gain), 3 to 2
    assert front([1.0, 1.0], [0.5, 0.5]) == [0]
    assert front([], []) == []


def test_hypervolume_is_the_staircase_area() -> None:
    # (1, 0.05) and (3, 0.2) against tax 0.5: 1 * 0.45 + (3 - 1) * 0.3
    assert hypervolume(GAINS, TAXES, 0.5) == pytest.approx(0.45 + 0.6)


def test_losses_and_taxes_above_the_cap_cover_nothing() -> None:
    assert hypervolume(np.array([-1.0, 2.0]), np.array([0.0, 0.7]), 0.5) == 0.0
    assert hypervolume(np.array([-1.0, 2.0]), np.array([0.0, 0.4]), 0.5) == pytest.approx(0.2)


def test_a_dominated_point_adds_no_area_and_a_better_one_does() -> None:
    base = hypervolume(np.array([1.0, 3.0]), np.array([0.1, 0.2]), 1.0)
    assert hypervolume(np.array([1.0, 3.0, 2.0]), np.array([0.1, 0.2, 0.25]), 1.0) == pytest.approx(
        float(base)
    )
    assert hypervolume(np.array([1.0, 3.0, 2.0]), np.array([0.1, 0.2, 0.1]), 1.0) == pytest.approx(
        float(base) + 0.1
    )


def test_hypervolume_of_every_column_is_that_of_the_column_alone() -> None:
    generator = np.random.default_rng(0)
    gains = generator.normal(size=(5, 40))
    taxes = generator.uniform(size=(5, 40))
    alone = [float(hypervolume(gains[:, i], taxes[:, i], 0.8)) for i in range(40)]
    assert hypervolume(gains, taxes, 0.8) == pytest.approx(np.array(alone))
    assert 0 < np.count_nonzero(alone) <= 40


def test_hypervolume_agrees_with_counting_points_in_the_plane() -> None:
    generator = np.random.default_rng(1)
    gains = generator.uniform(-0.2, 1, 6)
    taxes = generator.uniform(0, 1.2, 6)
    darts = generator.uniform(size=(200_000, 2))
    covered = ((darts[:, :1] <= gains) & (darts[:, 1:] >= taxes)).any(axis=1).mean()
    assert float(hypervolume(gains, taxes, 1.0)) == pytest.approx(float(covered), abs=0.005)


def test_tax_at_a_gain_lies_on_the_line_between_neighbours_of_the_front() -> None:
    # halfway from (1, 0.05) to (3, 0.2); (2, 0.2) is dominated
    assert tax_at(GAINS, TAXES, 2.0) == pytest.approx(0.125)
    assert tax_at(GAINS, TAXES, 3.0) == pytest.approx(0.2)


def test_tax_is_never_extrapolated_and_below_the_front_is_its_cheapest() -> None:
    assert tax_at(GAINS, TAXES, 3.0001) == math.inf
    assert tax_at(GAINS, TAXES, 0.5) == pytest.approx(0.05)  # more gain than asked, for less than (0, 0.1)
