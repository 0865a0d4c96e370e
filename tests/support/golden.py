"""Inputs of the golden fixture: fp64 log-probabilities of 4 completions of 6, 4, 2 and 5 tokens, made by
formula.

The losses and gradient norms that belong to them were produced with TRL 1.16.0's own `_compute_loss`.
"""

import torch
from torch import Tensor

ROWS = torch.arange(4)[:, None]
COLUMNS = torch.arange(6)[None]
LENGTHS = torch.tensor([6, 4, 2, 5])
MASK = LENGTHS[:, None] > COLUMNS
REWARDS = torch.tensor([0.9, 0.2, 0.6, 0.1], dtype=torch.float64)


def golden_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probs of policy, old policy and reference (4, 6), and advantages (4,). No ratio sits on a clip
    boundary.
    """
    logps = -(0.3 + 0.17 * ((3 * ROWS + 5 * COLUMNS) % 7).double())
    old = logps + 0.21 * (((2 * ROWS + 3 * COLUMNS) % 5) - 2).double()
    ref = logps + 0.13 * (((ROWS + 4 * COLUMNS) % 5) - 2).double()
    return logps, old, ref, (REWARDS - REWARDS.mean()) / (REWARDS.std() + 1e-4)
