"""The floor under a group's spread is a measurement: zero for an encoder without noise, the noise for one with it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from reward.noise import NOISE_MULTIPLE, ORDERS, cosine_noise, std_floor


class Exact:
    """Rows depend on their text alone."""

    dim = 8
    fingerprint = "exact"

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = [torch.randn(8, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


class Noisy(Exact):
    """Rows also depend on how many texts are encoded together: the first number of each grows by `size` for
    each of them.
    """

    def __init__(self, size: float) -> None:
        self.size = size

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = super().encode(texts)
        rows[:, 0] += self.size * len(texts)
        return rows


TEXTS = [f"text {number}" for number in range(40)]


def test_an_exact_encoder_has_no_noise() -> None:
    assert cosine_noise(Exact(), TEXTS) == 0.0


def test_noise_grows_with_the_disturbance() -> None:
    small = cosine_noise(Noisy(1e-6), TEXTS)
    large = cosine_noise(Noisy(1e-4), TEXTS)
    assert 1e-6 < small < 1e-3 and large == pytest.approx(100 * small, rel=0.2)


def test_same_seed_same_measurement() -> None:
    assert cosine_noise(Noisy(1e-4), TEXTS, seed=1) == cosine_noise(Noisy(1e-4), TEXTS, seed=1)
    assert cosine_noise(Noisy(1e-4), TEXTS, seed=1) != cosine_noise(Noisy(1e-4), TEXTS, seed=2)


def test_one_text_cannot_be_compared() -> None:
    assert cosine_noise(Exact(), ["a"]) == 0.0 and ORDERS > 1


def test_floor_by_hand() -> None:
    assert std_floor(0.0, 2.0, 1e-3) == 1e-3
    assert std_floor(1e-3, 1.5 / 0.7, 1e-3) == pytest.approx(NOISE_MULTIPLE * 1e-3 * 1.5 / 0.7)
