"""Trains a student on its teacher's vectors: the loss, and the loop over epochs.

    loss = (1 - cos(z, y)) + w ( CE(z Y' / t) + CE(y [Z, v]' / t) )
         + u ( max(0, cos(v, y) - cos(z, y) + m) + max(0, cos(v, z) - 1 + 2 m) )

z is the student's vector of a text, y the teacher's of its translation, v the student's of a wrong variant of
the text (`variants`). The cross-entropies make each find its partner in the batch (InfoNCE, van den Oord et
al. 2018); rows with the same meaning are no distractors. The last part pushes a wrong variant away from the
translation and from the right text. This module knows strings, tensors and a seed, not where the texts come
from.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from reward.distil.variants import wrong_variant
from reward.encoders.features import Bags, bags
from reward.encoders.student import Student

SAME_MEANING = 0.95  # teacher cosine from which two targets are one meaning
FINAL_LR_SHARE = 0.1


@dataclass(frozen=True)
class TrainingConfig:
    """Section [training]. A weight of 0 removes its part of the loss."""

    epochs: int = 4  # passes over the pairs
    batch_size: int = 256  # pairs an update
    table_lr: float = 3e-3  # learning rate of the table
    head_lr: float = 1e-3  # learning rate of the head
    temperature: float = 0.05  # temperature of the contrastive loss
    contrast_weight: float = 0.5  # weight of the contrastive loss between texts of a batch
    variant_weight: float = 1.0  # weight of the loss on wrong variants of a text
    variant_margin: float = 0.15  # cosine by which a wrong variant must be farther away
    feature_dropout: float = 0.1  # share of n-grams that an update leaves out


def distillation_loss(
    vectors: Tensor, targets: Tensor, wrong: Tensor | None, config: TrainingConfig
) -> Tensor:
    """The loss above: student rows (n, D), teacher rows (n, D), rows of wrong variants (n, D) or None -> scalar."""
    scores = vectors @ targets.T
    right = scores.diagonal()
    same = (targets @ targets.T > SAME_MEANING).fill_diagonal_(False)
    logits = (scores / config.temperature).masked_fill(same, -torch.inf)
    candidates = logits.T
    loss = (1 - right).mean()
    if wrong is not None:
        wrong_scores = (wrong * targets).sum(dim=1)
        candidates = torch.cat([candidates, wrong_scores[:, None] / config.temperature], dim=1)
        beside = F.relu((wrong * vectors).sum(dim=1) - 1 + 2 * config.variant_margin)
        loss = (
            loss
            + config.variant_weight * (F.relu(wrong_scores - right + config.variant_margin) + beside).mean()
        )
    partners = torch.arange(len(vectors))
    return loss + config.contrast_weight * (
        F.cross_entropy(logits, partners) + F.cross_entropy(candidates, partners)
    )


def drop_features(batch: Bags, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(ids, lengths) with each feature dropped with probability `share`; the first of every bag stays."""
    ids, lengths = batch.tensors()
    is_kept = torch.rand(len(ids), generator=generator) >= share
    is_kept[lengths.cumsum(0) - lengths] = True
    owner = torch.arange(len(lengths)).repeat_interleave(lengths)
    return ids[is_kept], owner[is_kept].bincount(minlength=len(lengths))


def train_student(
    student: Student,
    texts: Sequence[str],
    targets: Tensor,
    config: TrainingConfig,
    seed: int,
    say: Callable[[str], None] = print,
) -> None:
    """Train in place on n texts and teacher rows (n, D). The same arguments give the same weights on the same
    machine.
    """
    rng = random.Random(f"distil {seed}")
    generator = torch.Generator().manual_seed(seed)
    words = [student.units(text) for text in texts]
    right = bags(words)
    num_steps = config.epochs * -(-len(texts) // config.batch_size)
    optimizers, schedules = optimizers_of(student, config, num_steps)
    student.train()
    start = time.perf_counter()
    for epoch in range(config.epochs):
        total = 0.0
        wrong = None
        if config.variant_weight:
            wrong = bags([wrong_variant(text, words, rng, student.script) for text in words])
        for items in _batches(len(texts), config.batch_size, generator):
            batch = right.take(items) if wrong is None else right.take(items).join(wrong.take(items))
            rows = student(*drop_features(batch, config.feature_dropout, generator))
            loss = distillation_loss(
                rows[: len(items)], targets[items], rows[len(items) :] if wrong is not None else None, config
            )
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            total += loss.item() * len(items)
        done = epoch + 1
        if done * 10 // config.epochs > epoch * 10 // config.epochs:  # after each tenth
            say(
                f"epoch {done} of {config.epochs}: loss {total / len(texts):.3f}, {time.perf_counter() - start:.0f} s"
            )
    student.eval()


def optimizers_of(
    student: Student, config: TrainingConfig, num_steps: int
) -> tuple[list[torch.optim.Optimizer], list[LinearLR]]:
    """One for the table and one for the head, each with the schedule of its learning rate."""
    head = [p for name, p in student.named_parameters() if name != "table"]
    optimizers = [
        torch.optim.SparseAdam([student.table], lr=config.table_lr),
        torch.optim.AdamW(head, lr=config.head_lr, weight_decay=1e-2),
    ]
    return optimizers, [LinearLR(one, 1.0, FINAL_LR_SHARE, num_steps) for one in optimizers]


def _batches(num_texts: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Every text once in random order; the last batch may be smaller."""
    order = torch.randperm(num_texts, generator=generator).tolist()
    yield from (order[start : start + size] for start in range(0, num_texts, size))
