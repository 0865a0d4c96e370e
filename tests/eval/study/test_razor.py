"""The fit of the tax to the divergence on task prompts, by hand-computed values."""

from pathlib import Path

import numpy as np
import pytest
from invented_points import even, invented_point, study_report

from eval.study.razor import polynomial_fit


def test_r2_of_a_line_by_hand() -> None:
    """(0, 0), (1, 2), (2, 1): slope 1/2, constant 1/2; squares left 1.5, about the mean 2: R2 = 1/4."""
    fit = polynomial_fit(np.array([0.0, 1, 2]), np.array([0.0, 2, 1]), 1)
    assert fit is not None
    assert fit[0] == pytest.approx([0.5, 0.5]) and fit[1] == pytest.approx(0.25)
    parabola = polynomial_fit(np.array([0.0, 1, 2]), np.array([0.0, 2, 1]), 2)
    assert parabola is not None and parabola[1] == pytest.approx(1.0)
    assert parabola[0] == pytest.approx([0.0, 3.5, -1.5])


def test_no_fit_where_nothing_varies() -> None:
    assert polynomial_fit(np.array([1.0, 1, 1]), np.array([0.0, 2, 1]), 1) is None
    assert polynomial_fit(np.array([0.0, 1, 2]), np.array([1.0, 1, 1]), 1) is None


def test_a_study_whose_tax_is_the_square_of_the_divergence_says_so(tmp_path: Path) -> None:
    """Tax = KL^2 at KL 0, 1, 2, 3: the parabola leaves nothing; the line has R2 = 1 - 4 / 49."""
    points = [invented_point("untouched", "untouched", even(0.1), even(0.0))]
    kinds = {"warm_start": "warm_start", "grpo": "grpo", "a": "sft", "b": "sft"}
    for kl, (arm, kind) in enumerate(kinds.items()):
        made = invented_point(arm, kind, even(0.3 + 0.1 * kl), even(kl**2), step=20 if kl else 0)
        points.append(
            made | {"policy_kl": {"kl_mean": float(kl), "n_tokens": 4, "n_samples": 2, "items": []}}
        )
    page, plain, summary = study_report(tmp_path, points)
    razor = summary["razor"]
    assert (razor["points"], razor["arms"]) == (4, 4)
    assert razor["fits"]["quadratic"]["value"] == pytest.approx(1.0)
    assert razor["fits"]["quadratic"]["coefficients"] == pytest.approx([0, 0, 1], abs=1e-6)
    assert razor["fits"]["linear"]["value"] == pytest.approx(1 - 4 / 49, abs=1e-5)
    assert "linear R\u00b2 0.92 (95 % interval over arms" in plain
    assert "on task prompts</figcaption>" in page
