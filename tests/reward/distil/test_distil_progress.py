"""What the training of a student says of its progress."""

import torch
from invented_tibetan import LetterTeacher, invented_items

from reward.distil.training import TrainingConfig, train_student
from reward.encoders.student import Student


def test_a_long_training_says_one_line_after_each_tenth() -> None:
    """Past bug: 150 epochs were 150 lines."""
    items = invented_items(40, seed=7)
    targets = LetterTeacher().encode([item.chinese[0] for item in items])
    student = Student(24, 48, torch.Generator().manual_seed(0))
    lines: list[str] = []
    train_student(student, [item.text for item in items], targets, TrainingConfig(epochs=15), 0, lines.append)
    places = [line.split(":")[0] for line in lines]
    assert places == [f"epoch {done} of 15" for done in (2, 3, 5, 6, 8, 9, 11, 12, 14, 15)]
