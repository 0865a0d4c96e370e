"""Top-1, AUC and their interval: chance, hand-computed ranks, ties, no dependence on block size."""

import pytest
import torch

from reward.distil import retrieval
from reward.distil.retrieval import bootstrap_mean, ranks_below


def unit(n: int, dim: int, seed: int) -> torch.Tensor:
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def test_a_query_finds_itself() -> None:
    rows = unit(50, 16, seed=0)
    result = retrieval.retrieval(rows, rows)
    assert (result.n, result.top1, result.auc, result.auc_low, result.auc_high) == (50, 1.0, 1.0, 1.0, 1.0)


def test_ranks_by_hand() -> None:
    """Query 0 is nearest to its answer; query 1 has one distractor above; query 2 has both above."""
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    answers = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    assert ranks_below(queries, answers).tolist() == [1.0, 0.5, 0.0]


def test_unrelated_vectors_are_at_chance() -> None:
    result = retrieval.retrieval(unit(600, 64, seed=1), unit(600, 64, seed=2))
    assert abs(result.auc - 0.5) < 0.03
    assert result.auc_low < 0.5 < result.auc_high
    assert result.top1 < 0.01


def test_a_constant_encoder_is_at_chance_and_never_right() -> None:
    """The bug this prevents: counting ties as wins would give an encoder that maps everything to one point an
    AUC of 1.
    """
    rows = torch.ones(20, 4) / 2
    result = retrieval.retrieval(rows, rows)
    assert (result.auc, result.top1) == (0.5, 0.0)


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = unit(70, 8, seed=3)
    answers = unit(70, 8, seed=4)
    whole = ranks_below(queries, answers)
    monkeypatch.setattr(retrieval, "ROWS", 13)
    assert torch.equal(ranks_below(queries, answers), whole)


def test_interval_covers_the_mean_and_narrows_with_n() -> None:
    values = torch.rand(2000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    low, high = bootstrap_mean(values)
    assert low < values.mean().item() < high
    assert (high - low) == pytest.approx(2 * 1.96 * values.std().item() / 2000**0.5, rel=0.1)
    short_low, short_high = bootstrap_mean(values[:100])
    assert short_high - short_low > 3 * (high - low)


def test_interval_is_a_function_of_values_and_seed() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    assert bootstrap_mean(values, 1) == bootstrap_mean(values, 1) != bootstrap_mean(values, 2)


@pytest.mark.parametrize(("queries", "answers"), [((3, 4), (4, 4)), ((1, 4), (1, 4)), ((3,), (3,))])
def test_wrong_shapes_are_refused(queries: tuple[int, ...], answers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two \\(n, D\\) tensors"):
        ranks_below(torch.zeros(queries), torch.zeros(answers))


def test_figures_read_as_a_line() -> None:
    rows = unit(10, 4, seed=0)
    assert str(retrieval.retrieval(rows, rows)) == "top-1 1.000, AUC 1.0000 (1.0000 to 1.0000), n = 10"
