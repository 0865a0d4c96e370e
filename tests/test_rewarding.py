"""tau from a warm start's own cosines, and which texts a run embeds."""

import pytest
import torch

from data.examples import Example
from grpo.rewarding import calibrated, reference_texts

COSINES = torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(("rule", "tau"), [("mean", 0.4), ("q50", 0.3), ("q25", 0.2), ("q10", 0.14)])
def test_calibration_by_hand(rule: str, tau: float) -> None:
    assert calibrated(COSINES, rule) == pytest.approx(tau)


def test_a_perfect_warm_start_still_leaves_room_for_reward() -> None:
    assert calibrated(torch.ones(5, dtype=torch.float64), "mean") == 0.99


def test_every_reference_text_once_in_order() -> None:
    rows = [("甲", ("乙",)), ("乙", ("丙", "甲"))]
    examples = [Example("x", "s", first, "o", "l", "bo", "zh", others=more) for first, more in rows]
    assert reference_texts(examples) == ["甲", "乙", "丙"]
