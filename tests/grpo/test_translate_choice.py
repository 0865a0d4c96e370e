"""Of several candidates of a line, which one is its translation."""

import torch

from grpo.translate.choice import choose, logprob
from grpo.translate.decoding import Candidates


def test_the_best_is_a_text_with_the_highest_score_then_the_likeliest() -> None:
    found = [
        Candidates(["a", "", "b", "c"], [-2.0, -0.1, -1.0, -1.0], [False] * 4),
        Candidates(["", ""], [-1.0, -2.0], [False] * 2),
    ]
    assert choose(logprob, ["s", "t"], found) == [(2, -1.0), (0, -1.0)]
    scores = torch.tensor([0.5, 9.0, 0.5, 0.2, 0.0, 1.0], dtype=torch.float64)
    assert choose(lambda *_: scores, ["s", "t"], found) == [(2, 0.5), (1, 1.0)]
