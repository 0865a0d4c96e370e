import math

import numpy as np
import pytest

from eval.metrics.significance import (
    mcnemar,
    mean_statistics,
    paired_bootstrap,
    ratio_of_sums,
    resample_counts,
    transitions,
    wilson_interval,
)


def test_wilson_interval_has_the_published_values() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.16113), abs=1e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_is_symmetric_in_success_and_failure() -> None:
    low, high = wilson_interval(37, 120)
    other_low, other_high = wilson_interval(83, 120)
    assert (1 - other_high, 1 - other_low) == pytest.approx((low, high))


def test_mcnemar_p_value_is_the_binomial_tail() -> None:
    before = [False] * 1 + [True] * 9 + [True] * 30
    after = [True] * 1 + [False] * 9 + [True] * 30
    result = mcnemar(before, after)
    assert (result.gained, result.lost, result.n) == (1, 9, 40)
    assert result.p_value == pytest.approx(22 / 1024)


def test_mcnemar_without_discordant_items_is_certain_of_nothing() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0


def test_mcnemar_of_equal_gains_and_losses_is_one() -> None:
    assert mcnemar([True] * 4 + [False] * 4, [False] * 4 + [True] * 4).p_value == 1.0


def test_transition_rates_count_lost_and_gained_items_apart() -> None:
    """Ten right items of which eight stay so, twenty wrong ones of which none is gained."""
    rates = transitions([True] * 10 + [False] * 20, [True] * 8 + [False] * 22)
    lost, gained = rates.lost_share, rates.gained_share
    assert (lost.value, lost.n, gained.value, gained.n) == (0.2, 10, 0.0, 20)
    assert (lost.low, lost.high) == pytest.approx((1 - 0.94332, 1 - 0.49016), abs=1e-5)
    assert (gained.low, gained.high) == pytest.approx((0.0, 0.16113), abs=1e-5)


def test_a_rate_without_items_is_no_number() -> None:
    assert transitions([True, True], [True, False]).gained_share.value is None


def test_mcnemar_refuses_different_items() -> None:
    with pytest.raises(ValueError, match="same items twice, got 2 and 1"):
        mcnemar([True, False], [True])


def test_bootstrap_interval_of_a_mean_agrees_with_the_normal_approximation() -> None:
    generator = np.random.default_rng(3)
    before = generator.normal(0.5, 0.2, 400)
    gain = generator.normal(0.03, 0.1, 400)
    result = paired_bootstrap(
        mean_statistics(before),
        mean_statistics(before + gain),
        ratio_of_sums,
        resample_counts(400, generator, 20_000),
    )
    error = gain.std(ddof=1) / math.sqrt(400)
    assert result.difference == pytest.approx(gain.mean())
    assert result.low == pytest.approx(gain.mean() - 1.96 * error, abs=0.05 * error)
    assert result.high == pytest.approx(gain.mean() + 1.96 * error, abs=0.05 * error)
    tail = 0.5 * math.erfc(gain.mean() / error / math.sqrt(2))
    assert result.p_not_greater == pytest.approx(tail, abs=5e-4)


def test_bootstrap_is_paired_so_a_constant_gain_has_no_spread() -> None:
    values = np.random.default_rng(0).normal(size=50)
    result = paired_bootstrap(
        mean_statistics(values),
        mean_statistics(values + 0.25),
        ratio_of_sums,
        resample_counts(50, np.random.default_rng(1), 500),
    )
    assert (result.low, result.high) == pytest.approx((0.25, 0.25))
    assert result.p_not_greater == 0.0


def test_bootstrap_of_a_system_with_itself_is_zero_everywhere() -> None:
    values = mean_statistics([0.1, 0.9, 0.4])
    result = paired_bootstrap(
        values, values, ratio_of_sums, resample_counts(3, np.random.default_rng(1), 100)
    )
    assert (result.difference, result.low, result.high, result.p_not_greater) == (0.0, 0.0, 0.0, 1.0)


def test_each_resample_draws_as_many_items_as_there_are() -> None:
    counts = resample_counts(7, np.random.default_rng(0), 300)
    assert counts.shape == (300, 7)
    assert set(counts.sum(axis=1)) == {7.0}
    assert counts.mean() == 1.0


def test_bootstrap_refuses_statistics_of_other_items() -> None:
    with pytest.raises(ValueError, match="do not belong to the same items"):
        paired_bootstrap(np.ones((3, 2)), np.ones((4, 2)), ratio_of_sums, np.ones((5, 3)))
    with pytest.raises(ValueError, match="at least one item"):
        resample_counts(0, np.random.default_rng(0))
