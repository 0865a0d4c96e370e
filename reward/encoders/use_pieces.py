"""Tables of what the encoder computes from a single piece: each piece is computed once and kept.

Every matrix product has the same shape however many pieces are new (BLOCK_ROWS, the last block padded), so
the row of a piece has the same bits whichever pieces come with it. Vectors of whole texts are cached in
`reward/embedding.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reward.encoders.use_weights import BRANCH, EMBEDDING, SLOTS, TABLE_PARTS, WINDOWS, Weights

BLOCK_ROWS = 32  # pieces of one matrix product
MAX_PIECES = 8192  # of 26 KB each; when the tables are full, they are emptied


class PieceRows:
    """Tables with a row for each known piece; row 0 is zero and stands for a slot outside a text. K rows.

    `inputs` (K, 512 + 3 * 256): embedding, and input of each branch. `slots` (K * SLOTS, 512): that input in
    each slot of its branch's window, through the first convolution's weights and through the second's.
    """

    inputs: Tensor
    slots: Tensor

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        # of each piece; 0 = not computed yet
        self._row = torch.zeros(len(weights.table), dtype=torch.int64, device=weights.table.device)
        self._num_pieces = 0
        self._reserve(MAX_PIECES)

    def rows(self, pieces: Tensor) -> Tensor:
        """Row number of each piece id, (T,) -> (T,); valid until the next call."""
        new = self._new(pieces)
        if self._num_pieces + len(new) > self._capacity:
            self._row.zero_()
            self._num_pieces = 0
            new = self._new(pieces)
            self._reserve(max(self._capacity, len(new)))
        for block in new.split(BLOCK_ROWS):
            start = self._num_pieces + 1
            self._compute(F.pad(block, (0, BLOCK_ROWS - len(block))), start)
            # last: an interrupt leaves no unfilled row
            self._row[block] = torch.arange(start, start + len(block), device=block.device)
            self._num_pieces += len(block)
        return self._row[pieces]

    def _new(self, pieces: Tensor) -> Tensor:
        return pieces[self._row[pieces] == 0].unique()

    def _reserve(self, capacity: int) -> None:
        self._capacity = capacity
        rows = capacity + 1 + BLOCK_ROWS
        self.inputs = self.weights.scale.new_empty(rows, EMBEDDING + len(WINDOWS) * BRANCH)
        self.slots = self.weights.scale.new_empty(rows * SLOTS, 2 * BRANCH)
        self.inputs[0] = 0
        self.slots[:SLOTS] = 0

    def _compute(self, block: Tensor, start: int) -> None:
        """Fill the rows from `start` on for BLOCK_ROWS piece ids; the padding of a last block is overwritten
        by the next block.
        """
        w = self.weights
        part = block % TABLE_PARTS
        embedding = w.table[block] * w.scale[part, None] + w.lo[part, None]
        inputs = F.layer_norm(
            (embedding @ w.projection).add_(w.projection_bias), list(w.norm.shape), w.norm, w.norm_bias, w.eps
        )
        self.inputs[start : start + BLOCK_ROWS] = torch.cat([embedding, inputs], dim=1)
        slots = torch.cat(
            [x @ weight for x, weight in zip(inputs.split(BRANCH, dim=1), w.slots, strict=True)], dim=1
        )
        self.slots[start * SLOTS : (start + BLOCK_ROWS) * SLOTS] = slots.add_(w.slots_bias).view(
            -1, 2 * BRANCH
        )
