"""Terms `rank` and `margin`: is a completion nearer to its own reference text than to all others?

In high dimensions some points are near neighbours of very many others (hubs: Radovanovic et al. 2010). A
policy can earn a cosine by writing such a text for every prompt. Both terms search a `Bank` of reference
texts (faiss, exact) for other near texts:

    rank   = 1 / (1 + number of unrelated reference texts at least as near as the own one)
    margin = (s - (m_c + m_r) / 2) / (1 - m_r), cut to [0, 1]
             (CSLS, Conneau et al. 2018, arXiv 1710.04087, rescaled)

s: cosine of the completion and its reference text; m_c, m_r: mean cosine of each to its nearest unrelated
reference texts. The margin is 1 for the reference text itself, and 0 for a text no nearer to it than to the
others. A text is unrelated where its cosine to the own reference texts is below `related`, so near-duplicates
do not count. The terms multiply or replace the semantic term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from reward.cosine import Vectors
from reward.rows import References, Texts, check_rows, check_setting

BLOCK_ROWS = 65536  # rows copied into the index at once
NUM_NEIGHBOURS = 32  # nearest neighbours of a search
CROWD = 10  # unrelated ones of them in the mean of `margin` (k of CSLS)


@dataclass(frozen=True)
class Bank:
    """Reference texts to search: row i of `index` is row `rows[i]` of `Vectors.matrix` and belongs to
    `texts[i]`. `index` is a faiss.IndexFlatIP.
    """

    index: Any
    rows: Tensor
    texts: tuple[str, ...]


def build_bank(vectors: Vectors, texts: Sequence[str]) -> Bank:
    """Index the distinct `texts`; once per run. Raises ValueError for none."""
    import faiss  # an extra, which only these terms need

    distinct = tuple(dict.fromkeys(texts))
    if not distinct:
        raise ValueError("a bank needs at least one reference text")
    rows = vectors.locate(distinct)
    matrix = vectors.matrix
    index = faiss.IndexFlatIP(matrix.shape[1])
    for block in rows.split(BLOCK_ROWS):
        index.add(matrix[block].numpy())
    return Bank(index, rows, distinct)


def rank(
    sources: Texts, completions: Texts, references: References,
    *, vectors: Vectors, bank: Bank, related: float = 0.8, neighbours: int = NUM_NEIGHBOURS,
) -> Tensor:  # fmt: skip
    """Term in [1 / (1 + neighbours), 1]: 1 where no unrelated reference text is as near as the own one: N
    rows -> (N,) fp32.
    """
    check_rows(sources, completions, references)
    check_setting("rank.neighbours", neighbours, 1)
    rows = reference_rows(references, vectors)
    points = vectors.embed(completions)
    matrix = vectors.matrix  # after `reference_rows`, which may add to it
    own_vectors = matrix[rows]
    crowd = unrelated_cosines(bank, matrix, points, own_vectors, related, neighbours)
    return rank_in_crowd(cosines(points[:, None], own_vectors).amax(dim=1), crowd)


def margin(
    sources: Texts, completions: Texts, references: References,
    *, vectors: Vectors, bank: Bank, related: float = 0.8, neighbours: int = CROWD,
) -> Tensor:  # fmt: skip
    """Term: `csls_margin`, in [0, 1], to the reference text for which it is largest: N rows -> (N,) fp32.

    Exactly 1 for a reference text itself, where rounding would give 1 - 1e-7.
    """
    check_rows(sources, completions, references)
    check_setting("margin.neighbours", neighbours, 1)
    num_neighbours = max(NUM_NEIGHBOURS, neighbours)
    rows = reference_rows(references, vectors)
    points = vectors.embed(completions)
    matrix = vectors.matrix  # after `reference_rows`, which may add to it
    own_vectors = matrix[rows]
    around_points = crowding(
        unrelated_cosines(bank, matrix, points, own_vectors, related, num_neighbours), neighbours
    )
    distinct, place = rows.unique(return_inverse=True)  # a group shares its reference texts
    texts = matrix[distinct]
    around_texts = crowding(
        unrelated_cosines(bank, matrix, texts, texts[:, None], related, num_neighbours), neighbours
    )
    values = csls_margin(cosines(points[:, None], own_vectors), around_points[:, None], around_texts[place])
    same = torch.tensor(
        [text in own_texts for text, own_texts in zip(completions, references, strict=True)], dtype=torch.bool
    )
    return torch.where(same, 1.0, values.amax(dim=1))


def reference_rows(references: References, vectors: Vectors) -> Tensor:
    """Rows of `matrix` for N lists of reference texts: (N, M). A shorter list repeats its first text, which
    changes no maximum.
    """
    rows = iter(vectors.locate(list(chain.from_iterable(references))).tolist())
    lists = [[next(rows) for _ in texts] for texts in references]
    longest = max(map(len, lists), default=1)
    return torch.tensor([row + row[:1] * (longest - len(row)) for row in lists], dtype=torch.int64).view(
        -1, longest
    )


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of unit vectors (..., D), (..., D) -> (...). Each pair is summed on its own, so the other pairs
    change no bit of it.
    """
    return (a * b).sum(dim=-1)


def unrelated_cosines(
    bank: Bank, matrix: Tensor, points: Tensor, own_vectors: Tensor, related: float, neighbours: int
) -> Tensor:
    """Cosines of Q points to their nearest bank texts, -inf for texts related to the point's own: (Q, D), (Q,
    M, D) -> (Q, k).

    k is `neighbours`, or the size of the bank. faiss only finds the neighbours: its cosines depend on the
    batch.
    """
    _, places = bank.index.search(points.numpy(), min(neighbours, bank.index.ntotal))
    near = matrix[bank.rows[torch.from_numpy(places)]]  # (Q, k, D)
    is_unrelated = torch.stack(
        [cosines(near, text[:, None]) < related for text in own_vectors.unbind(dim=1)]
    ).all(dim=0)
    return torch.where(is_unrelated, cosines(near, points[:, None]), -torch.inf)


def rank_in_crowd(own_cosines: Tensor, crowd: Tensor) -> Tensor:
    """1 / (1 + how many of the crowd are at least as near): (N,), (N, k) -> (N,).

    >>> rank_in_crowd(torch.tensor([0.5, 0.9]), torch.tensor([[0.7, 0.5, 0.1], [0.7, 0.5, -torch.inf]])).tolist()[1]
    1.0
    """
    return 1 / (1 + (crowd >= own_cosines[:, None]).sum(dim=1))


def crowding(crowd: Tensor, neighbours: int) -> Tensor:
    """Mean of the `neighbours` largest finite cosines, of all where there are fewer, 0 where there is none:
    (Q, k) -> (Q,) fp64.

    >>> crowding(torch.tensor([[0.75, 0.25, 0.0], [0.5, -torch.inf, -torch.inf]]), 2).tolist()
    [0.5, 0.5]
    """
    nearest = crowd.double().topk(min(neighbours, crowd.shape[1]), dim=1).values
    is_finite = nearest.isfinite()
    return nearest.where(is_finite, 0.0).sum(dim=1) / is_finite.sum(dim=1).clamp_min(1)


def csls_margin(own_cosines: Tensor, around_point: Tensor, around_own: Tensor) -> Tensor:
    """(s - (m_c + m_r) / 2) / (1 - m_r), cut to [0, 1]; m_r < 1, else 0: tensors of one shape -> fp32 of that
    shape.

    >>> csls_margin(torch.tensor([1.0, 0.75, 0.25]), torch.full((3,), 0.5), torch.full((3,), 0.5)).tolist()
    [1.0, 0.5, 0.0]
    """
    room = 1 - around_own.double()
    values = (own_cosines.double() - (around_point + around_own) / 2) / room.clamp_min(1e-6)
    return values.where(room > 0, 0.0).clamp(0, 1).float()
