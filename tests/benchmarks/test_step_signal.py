"""Signal and noise of a gradient: the running sums against all pairs, and the signal of gradients whose mean is known."""

from itertools import permutations

import pytest
import torch

from benchmarks.step_signal import Gradient, Products, Sums, direction_cosine, lines, signal

NAMES = ["a", "b"]


def gradients(count: int, mean: float, seed: int) -> list[Gradient]:
    random = torch.Generator().manual_seed(seed)
    shapes = {"a": (4, 5), "b": (7,)}
    return [{n: mean + torch.randn(s, generator=random) for n, s in shapes.items()} for _ in range(count)]


def sums_of(found: list[Gradient]) -> Sums:
    sums = Sums()
    for gradient in found:
        sums.add(gradient)
    return sums


def products(one: list[Gradient], other: list[Gradient]) -> Products:
    same = Products()
    for left, right in zip(one, other, strict=True):
        same.add(left, right)
    return same


def dot(one: Gradient, other: Gradient) -> float:
    return sum(float((one[name].double() * other[name].double()).sum()) for name in NAMES)


def test_the_signal_is_the_mean_product_of_different_steps() -> None:
    found = gradients(5, 0.3, seed=0)
    pairs = [dot(one, other) for one, other in permutations(found, 2)]
    assert signal(sums_of(found), NAMES) == pytest.approx(
        (sum(pairs) / len(pairs), sum(dot(one, one) for one in found) / 5), rel=1e-5
    )


def test_a_known_mean_is_found_and_noise_alone_has_no_signal() -> None:
    """27 values of mean m: |E g|^2 = 27 m^2, E |g|^2 = 27 (m^2 + 1)."""
    strong, square = signal(sums_of(gradients(2000, 0.5, seed=1)), NAMES)
    assert strong == pytest.approx(27 * 0.25, rel=0.03)
    assert square == pytest.approx(27 * 1.25, rel=0.03)
    none, _ = signal(sums_of(gradients(2000, 0.0, seed=2)), NAMES)
    assert abs(none) < 0.02


def test_the_cosine_of_two_directions_leaves_out_the_noise_that_they_share() -> None:
    """Both gradients have the same noise. Their means are orthogonal, so only the shared noise looks alike."""
    noise = gradients(3000, 0.0, seed=3)
    ways = torch.zeros(7), torch.zeros(7)
    ways[0][:3] = 1.0
    ways[1][3:6] = 1.0
    one, other = ([{"a": g["a"], "b": g["b"] + way} for g in noise] for way in ways)
    assert direction_cosine(sums_of(one), sums_of(other), products(one, other), NAMES) == pytest.approx(
        0.0, abs=0.05
    )
    assert direction_cosine(sums_of(one), sums_of(one), products(one, one), NAMES) == pytest.approx(1.0)


def test_the_table_names_the_prompts_that_make_half_a_step_signal() -> None:
    """|sum|^2 = 10 and the sum of squares 6: signal 4 / 6 of 2, so a third at 16 prompts and half at 32."""
    found = [{"a": torch.tensor([1.0, way])} for way in (1.0, -1.0, 1.0)]
    kinds = {"grpo": sums_of(found), "sft": sums_of(found)}
    table = list(lines(kinds, products(found, found), {"all": ["a"]}, 16))
    assert table[2] == "| all | grpo | 1.41 | +0.3333 | 32 |"
    assert table[4] == "| all | cosine of the directions of grpo and sft | | +1.000 | |"
