"""Static embeddings: a text's vector is the mean of its tokens' rows of one matrix, without a network.

Two kinds of folder: (a) a matrix made for it (sentence-transformers StaticEmbedding, model2vec) with its
tokenizer.json; (b) any transformers causal LM, of which only the *input embedding* is read. The rows of (b)
all point the same way, so the encoder can be fitted on texts by SIF (Arora, Liang & Ma 2017, "A simple but
tough-to-beat baseline for sentence embeddings"): tokens get the weight a / (a + p(token)), and the mean and
the strongest common directions of those texts are subtracted. Measured on this project's corpus, the mean
weighted by the sum of weights and eight directions told related from unrelated texts better than the paper's
1/length and one.

It knows words and neither order nor negation: a second opinion independent of the reward's encoder, not a
reward.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor

from data.errors import InputError
from data.model_folder import input_errors, require_weights, tensor_shapes
from reward.encoders.pooling import blank_row

MATRICES = ("embedding.weight", "embeddings")  # in a folder of kind (a); below, the endings in a causal LM's
INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
SMOOTHING = 1e-3  # a
DIRECTIONS = 8
LEAST_TEXTS = 100
CHUNK_TEXTS = 4096  # texts worked on at once: bounds memory
T = TypeVar("T")


@dataclass(frozen=True)
class SifStatistics:
    """Statistics of texts: the weight of every token (V,), the mean (D,) of the texts' vectors and their
    common directions (k, D).
    """

    weights: Tensor
    mean: Tensor
    directions: Tensor


class StaticEncoder:
    """Text -> (weighted) mean of rows of `matrix` (V, D), on the CPU. `vectors` gives the means, `encode`
    scales them to unit length.
    """

    def __init__(self, matrix: Tensor, tokenizer: Tokenizer, statistics: SifStatistics | None = None) -> None:
        self.matrix = matrix
        self.tokenizer = tokenizer
        self.statistics = statistics
        self.dim = matrix.shape[1]
        self.fingerprint = _fingerprint(matrix, tokenizer, statistics)
        self._weights = torch.ones(len(matrix)) if statistics is None else statistics.weights

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32; row i depends on texts[i] alone."""
        return F.normalize(self.vectors(texts), dim=1)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Mean vectors (n, dim), fp32. A text without tokens, or whose rows sum to 0, gets `blank_row`."""
        rows = [self._chunk(chunk) for chunk in chunks(texts)]
        return torch.cat(rows) if rows else torch.empty(0, self.dim)

    def _chunk(self, texts: Sequence[str]) -> Tensor:
        means = weighted_means(self.matrix, self._weights, token_ids(self.tokenizer, texts))
        empty = (means == 0).all(dim=1, keepdim=True)
        if self.statistics is not None:
            means = remove_common(means, self.statistics.mean, self.statistics.directions)
        return torch.where(empty, blank_row(self.dim), means)


def load_static(folder: Path, fit_texts: Sequence[str] | None = None) -> StaticEncoder:
    """Load the static embeddings of `folder`, fitted on `fit_texts` if given. Raises InputError where it has
    no such matrix or the texts are too few.
    """
    require_weights(folder)
    with input_errors(folder / "tokenizer.json", "no tokenizer"):
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        token_ids(tokenizer, ["a"])
    matrix = _read_matrix(folder)
    tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if tokens > len(matrix):
        raise InputError(
            f"{folder}: the tokenizer knows {tokens} tokens, the matrix has rows for {len(matrix)}"
        )
    return StaticEncoder(
        matrix, tokenizer, None if fit_texts is None else fit_sif(matrix, tokenizer, fit_texts)
    )


def fit_sif(matrix: Tensor, tokenizer: Tokenizer, texts: Sequence[str]) -> SifStatistics:
    """Compute token weights a / (a + p), and the mean and common directions of the texts. Raises InputError
    for fewer than LEAST_TEXTS texts.
    """
    if len(texts) < LEAST_TEXTS:
        raise InputError(f"static embeddings: fitting needs at least {LEAST_TEXTS} texts, got {len(texts)}")
    ids = [row for chunk in chunks(texts) for row in token_ids(tokenizer, chunk)]
    counts = Counter(chain.from_iterable(ids))
    share = torch.zeros(len(matrix), dtype=torch.float64)
    share[list(counts)] = torch.tensor(list(counts.values()), dtype=torch.float64) / counts.total()
    weights = (SMOOTHING / (SMOOTHING + share)).float()
    non_empty = [row for row in ids if row]

    def vectors() -> Iterator[Tensor]:
        return (weighted_means(matrix, weights, chunk).double() for chunk in chunks(non_empty))

    return SifStatistics(weights, *mean_and_directions(vectors))


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows, CHUNK_TEXTS at a time."""
    return (rows[start : start + CHUNK_TEXTS] for start in range(0, len(rows), CHUNK_TEXTS))


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The texts' tokens without special ones."""
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def weighted_means(matrix: Tensor, weights: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
    """Sum of weight * row over a text's tokens / sum of weights: (V, D), (V,), n lists -> (n, D); 0 for an
    empty list.

    >>> weighted_means(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([1.0, 3.0]), [[0, 1], [1]]).tolist()
    [[1.0, 3.0], [0.0, 4.0]]
    """
    flat = torch.tensor(list(chain.from_iterable(ids)), dtype=torch.long)
    lengths = torch.tensor([len(row) for row in ids], dtype=torch.long)
    starts = lengths.cumsum(0) - lengths
    token_weights = weights[flat]
    sums = F.embedding_bag(flat, matrix, starts, mode="sum", per_sample_weights=token_weights)
    total = F.embedding_bag(torch.arange(len(flat)), token_weights[:, None], starts, mode="sum")
    return sums / total.clamp_min(torch.finfo(torch.float32).tiny)


def mean_and_directions(vectors: Callable[[], Iterator[Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the directions of most variance, as orthonormal rows (k, D), k <= DIRECTIONS, of fp64
    vectors.

    `vectors` is called twice and gives (n, D) at a time, so that they need not all be in memory.
    """
    sums = [(part.sum(dim=0), len(part)) for part in vectors()]
    mean = torch.stack([part for part, _ in sums]).sum(dim=0) / sum(n for _, n in sums)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for part in vectors():
        differences = part - mean
        scatter += differences.T @ differences
    _, axes = torch.linalg.eigh(scatter)  # in ascending order
    return mean.float(), axes[:, -min(DIRECTIONS, len(mean) - 1) :].T.flip(0).float().contiguous()


def remove_common(vectors: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Subtract the mean (D,) from (n, D), and its components along the directions (k, D), one direction at a time."""
    rest = vectors - mean
    for direction in directions:
        # no matrix product: its bits would depend on the number of rows
        rest = rest - (rest * direction).sum(dim=1, keepdim=True) * direction
    return rest


def _read_matrix(folder: Path) -> Tensor:
    """Read the matrix (V, D) in fp32, and only this tensor. model2vec's rows are selected by its mapping and
    scaled by its weights, as it does itself.
    """
    path, name = _find_matrix(folder)
    with (
        input_errors(path, f"{name} is no embedding matrix that can be read"),
        safe_open(path, framework="pt") as file,
    ):
        matrix: Tensor = file.get_tensor(name).float()
        if name == "embeddings" and "mapping" in file.keys():  # noqa: SIM118
            matrix = _rows_of_tokens(matrix, file.get_tensor("mapping").long())
        if name == "embeddings" and "weights" in file.keys():  # noqa: SIM118
            matrix = matrix * file.get_tensor("weights").float()[:, None]
    if matrix.dim() != 2 or not matrix.numel():
        raise InputError(
            f"{path}: {name} has shape {tuple(matrix.shape)}: an embedding matrix has a row for each token"
        )
    return matrix.contiguous()


def _rows_of_tokens(matrix: Tensor, rows: Tensor) -> Tensor:
    """The row of each token: (U, D), (V,) -> (V, D)."""
    if rows.numel() and rows.min() < 0:
        raise IndexError(f"mapping holds the row {rows.min().item()}")
    return matrix[rows]


def _find_matrix(folder: Path) -> tuple[Path, str]:
    """The file and the name of the embedding matrix. Raises InputError where there is none."""
    for path in sorted(folder.glob("*.safetensors")):
        for name in tensor_shapes(path):
            if name in MATRICES or name.endswith(INPUT_EMBEDDINGS):
                return path, name
    raise InputError(
        f"{folder}: no embedding matrix; looked for {', '.join((*MATRICES, *INPUT_EMBEDDINGS))} in its safetensors"
    )


def _fingerprint(matrix: Tensor, tokenizer: Tokenizer, statistics: SifStatistics | None) -> str:
    digest = hashlib.sha256(b"static, fp32")
    digest.update(tokenizer.to_str().encode())
    for tensor in (
        matrix,
        *((statistics.weights, statistics.mean, statistics.directions) if statistics else ()),
    ):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
