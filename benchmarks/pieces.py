"""Pieces of a step without the model: advantages, loss, cosine kernel, embedding cache. Larger tables:
reward.py, peer_cosine.py.
"""

from collections.abc import Iterator
from itertools import cycle

import torch

from benchmarks.reward import FakeEncoder
from benchmarks.step import StepSize
from benchmarks.timing import Work
from grpo.advantage import group_advantages
from grpo.config import AdvantageConfig
from grpo.loss import Bounds, grpo_loss, token_weights
from reward.embedding import EmbeddingStore
from reward.kernel import ragged_cosines

TURNS = 16  # sets of rows, taken in turn so that none is in a cache
NUMBER = 4  # bytes


def advantages(size: StepSize) -> Work:
    rewards = torch.rand(size.prompts, size.group)
    floor = AdvantageConfig().std_floor
    return Work(
        f"advantages, {size.prompts} x {size.group}",
        lambda: group_advantages(rewards, floor),
        0,
        2 * rewards.nbytes,
        "copy",
    )


def loss(size: StepSize) -> Work:
    """Forward and backward down to the log-probabilities, statistics included."""
    rows = size.prompts * size.group
    policy = torch.randn(rows, size.new).requires_grad_()
    reference = torch.randn(rows, size.new)
    mask = torch.ones(rows, size.new, dtype=torch.bool)
    given = (None, reference, torch.randn(rows), mask, token_weights(mask, "sequence"))

    def call() -> None:
        grpo_loss(policy, *given, bounds=Bounds(0.2, 0.2, 0.0), kl_coef=0.02)[0].backward()

    return Work(f"loss, {rows} x {size.new}", call, 0, rows * size.new * (NUMBER * 3 + 1 + 8), "copy")


def cosine_kernel(cached: int, completions: int) -> Work:
    """One reference each, out of a matrix of `cached` rows."""
    matrix = torch.nn.functional.normalize(torch.randn(cached, FakeEncoder.dim), dim=1)
    own = matrix[:completions].clone()
    offsets = torch.arange(completions + 1)
    rows = cycle([torch.randint(cached, (completions,)) for _ in range(TURNS)])
    num_bytes = completions * (2 * NUMBER * FakeEncoder.dim + 8 + NUMBER)
    name = f"cosine kernel, {completions:,} of {cached:,}"
    return Work(
        name,
        lambda: ragged_cosines(own, matrix, next(rows), offsets),
        2 * FakeEncoder.dim * completions,
        num_bytes,
        "gather",
    )


def embedding_cache(cached: int, asked: int) -> Iterator[Work]:
    """Texts that are all there: their rows named, and their vectors copied out."""
    texts = [f"{number} 打开文件 {number % 7}" for number in range(cached)]
    store = EmbeddingStore(FakeEncoder(), None)
    store.remember(texts)
    questions = cycle(
        [[texts[place] for place in torch.randint(cached, (asked,)).tolist()] for _ in range(TURNS)]
    )
    size = sum(len(text.encode()) for text in texts) * asked // cached
    yield Work(
        f"embedding cache locates {asked:,}",
        lambda: store.locate(next(questions)),
        0,
        size + 8 * asked,
        "gather",
    )
    num_bytes = size + 2 * NUMBER * FakeEncoder.dim * asked
    yield Work(
        f"embedding cache embeds {asked:,}", lambda: store.embed(next(questions)), 0, num_bytes, "gather"
    )


def piece_works(size: StepSize, cached: int, asked: int) -> Iterator[Work]:
    """Everything above, the memory of one piece gone before the next."""
    yield advantages(size)
    yield loss(size)
    yield cosine_kernel(cached, asked)
    yield from embedding_cache(cached, asked)
