"""Rank and margin against brute force and by hand; hubs counted by hand."""

import pytest
import torch
from plain_vectors import PlainVectors
from torch import Tensor

from data.errors import InputError
from reward.hubness import Bank, build_bank, crowding, csls_margin, margin, rank, reference_rows


def points(count: int, seed: int, dim: int = 16) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + 0.3, dim=1
    )


def world(
    count: int = 60, seed: int = 0, extra: dict[str, Tensor] | None = None
) -> tuple[PlainVectors, Bank, list[str], dict[str, Tensor]]:
    """A bank of `count` invented texts r0, r1, ... and the vectors of these and of `extra`."""
    names = [f"r{n}" for n in range(count)]
    table = dict(zip(names, points(count, seed), strict=True)) | (extra or {})
    vectors = PlainVectors(
        lambda texts: torch.stack([table[text] for text in texts]) if texts else torch.empty(0, 16)
    )
    return vectors, build_bank(vectors, names), names, table


def point_between(a: Tensor, b: Tensor, share: float) -> Tensor:
    return torch.nn.functional.normalize((1 - share) * a + share * b, dim=0)


def brute_force(
    table: dict[str, Tensor], bank: list[str], completion: str, own_texts: list[str], related: float
) -> tuple[float, float]:
    """Rank without a bound on neighbours, and margin with 10, one pair at a time in fp64."""
    vector = {name: row.double() for name, row in table.items()}

    def cosine(a: str, b: str) -> float:
        return float(vector[a] @ vector[b])

    def crowd(point: str, own_texts: list[str]) -> list[float]:
        return sorted(
            (cosine(point, t) for t in bank if all(cosine(t, r) < related for r in own_texts)), reverse=True
        )

    def mean(values: list[float]) -> float:
        return sum(values[:10]) / len(values[:10])

    near = max(cosine(completion, text) for text in own_texts)
    m_c = mean(crowd(completion, own_texts))
    margins = [
        (cosine(completion, r) - (m_c + mean(crowd(r, [r]))) / 2) / (1 - mean(crowd(r, [r])))
        for r in own_texts
    ]
    return 1 / (1 + sum(value >= near for value in crowd(completion, own_texts))), min(
        1.0, max(0.0, max(margins))
    )


@pytest.mark.parametrize("seed", range(4))
def test_both_terms_equal_brute_force(seed: int) -> None:
    table = dict(zip([f"r{n}" for n in range(60)], points(60, seed), strict=True))
    near = {f"c{n}": point_between(table[f"r{n}"], table[f"r{n + 1}"], 0.11 * n) for n in range(8)}  # no tie
    vectors, bank, names, table = world(60, seed, near)
    own_texts = [[f"r{n}"] if n % 2 else [f"r{n}", f"r{n + 9}", f"r{n + 20}"] for n in range(8)]
    expected = [brute_force(table, names, f"c{n}", own_texts[n], 0.8) for n in range(8)]
    settings = {"vectors": vectors, "bank": bank}
    ranks = rank(["s"] * 8, list(near), own_texts, **settings, neighbours=60)
    assert ranks.tolist() == pytest.approx([value for value, _ in expected])
    assert min(ranks) < 1 == max(ranks)
    margins = margin(["s"] * 8, list(near), own_texts, **settings)
    assert margins.tolist() == pytest.approx([value for _, value in expected], abs=1e-6)


def test_reference_text_itself_gets_1_exactly() -> None:
    vectors, bank, names, _ = world()
    rows = [["r7", name] for name in names]
    assert rank(names, names, rows, vectors=vectors, bank=bank).eq(1).all()
    assert margin(names, names, rows, vectors=vectors, bank=bank).eq(1).all()


def test_unrelated_text_gets_the_lowest_rank_and_no_margin() -> None:
    vectors, bank, names, table = world()
    row = min(range(60), key=lambda n: float(table["r0"] @ table[names[n]]))
    assert rank(
        ["s"], [names[row]], [["r0"]], vectors=vectors, bank=bank, neighbours=8
    ).item() == pytest.approx(1 / 9)
    assert margin(["s"], [names[row]], [["r0"]], vectors=vectors, bank=bank).item() == 0


def test_near_duplicates_of_the_own_text_are_no_crowd() -> None:
    """Three texts within a cosine of 0.99 of the right one are as near to the completion; only with a higher
    bar do they count.
    """
    base = points(60, 0)
    twins = {f"twin{n}": point_between(base[0], base[n + 1], 0.05) for n in range(3)}
    completion = {"c": point_between(base[0], base[1], 0.3)}
    vectors, _, names, _ = world(60, 0, twins | completion)
    bank = build_bank(vectors, [*names, *twins])
    settings = {"vectors": vectors, "bank": bank}
    assert rank(["s"], ["c"], [["r0"]], **settings).item() == 1
    assert rank(["s"], ["c"], [["r0"]], **settings, related=1.1).item() < 1


def test_margin_falls_from_the_own_text_to_the_crowd() -> None:
    base = points(60, 3)
    steps = {f"c{n}": point_between(base[0], base[5], n / 10) for n in range(11)}
    vectors, bank, _, _ = world(60, 3, steps)
    values = margin(["s"] * 11, list(steps), [["r0"]] * 11, vectors=vectors, bank=bank).tolist()
    assert (
        values == sorted(values, reverse=True) and values[0] == pytest.approx(1, abs=1e-6) and values[-1] == 0
    )


def test_reference_texts_that_the_bank_has_not_are_located() -> None:
    """They grow the matrix: it must be read after `locate` (a bug's obituary: rows of the old matrix were out
    of bounds).
    """
    fresh = points(1, 9)[0]
    vectors, bank, _, _ = world(extra={"new": fresh, "c": fresh})
    for term in (rank, margin):
        assert term(["s"], ["c"], [["new"]], vectors=vectors, bank=bank).item() == pytest.approx(1, abs=1e-6)


def test_values_are_bit_equal_in_any_batch() -> None:
    base = points(60, 5)
    texts = {f"c{n}": point_between(base[n], base[n + 1], 0.4) for n in range(20)}
    vectors, bank, _, _ = world(60, 5, texts)
    own_texts = [[f"r{n}"] for n in range(20)]
    for term in (rank, margin):
        together = term(["s"] * 20, list(texts), own_texts, vectors=vectors, bank=bank)
        alone = torch.cat(
            [
                term(["s"], [text], [row], vectors=vectors, bank=bank)
                for text, row in zip(texts, own_texts, strict=True)
            ]
        )
        assert torch.equal(together, alone)


@pytest.mark.parametrize("term", [rank, margin])
def test_small_banks_and_empty_batches_work(term) -> None:  # type: ignore[no-untyped-def]
    vectors, bank, _, _ = world(1)
    assert term(["s"], ["r0"], [["r0"]], vectors=vectors, bank=bank).tolist() == [1.0]
    assert term([], [], [], vectors=vectors, bank=bank).shape == (0,)
    with pytest.raises(ValueError, match="one length"):
        term(["s"], [], [], vectors=vectors, bank=bank)


@pytest.mark.parametrize("term", [rank, margin])
def test_impossible_neighbours_are_named(term) -> None:  # type: ignore[no-untyped-def]
    vectors, bank, _, _ = world(2)
    with pytest.raises(
        InputError, match=rf"reward\.settings\.{term.__name__}\.neighbours = 0: must be at least 1"
    ):
        term(["s"], ["r0"], [["r0"]], vectors=vectors, bank=bank, neighbours=0)


def test_bank_has_each_text_once_and_at_least_one() -> None:
    vectors, _, _, _ = world(4)
    bank = build_bank(vectors, ["r2", "r1", "r2"])
    assert (
        bank.texts == ("r2", "r1")
        and bank.index.ntotal == 2
        and bank.rows.tolist() == vectors.locate(["r2", "r1"]).tolist()
    )
    with pytest.raises(ValueError, match="at least one reference text"):
        build_bank(vectors, [])


def test_shorter_lists_are_filled_up_with_their_first_text() -> None:
    vectors, _, _, _ = world(5)
    assert reference_rows([["r3"], ["r1", "r0", "r4"]], vectors).tolist() == [[3, 3, 3], [1, 0, 4]]
    assert reference_rows([], vectors).shape == (0, 1)


def test_crowding_counts_what_is_there() -> None:
    assert crowding(torch.tensor([[-torch.inf, -torch.inf]]), 5).tolist() == [0.0]
    assert crowding(torch.tensor([[0.5, -torch.inf, 0.25]]), 5).tolist() == [0.375]


def test_margin_is_0_where_the_crowd_is_at_the_own_text() -> None:
    assert csls_margin(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([1.0])).tolist() == [0.0]
