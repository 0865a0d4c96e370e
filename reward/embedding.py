"""Caches the vectors of texts: each distinct text of a call is encoded once, each reference text only once
ever.

Reference texts (`remember`, `locate`) are rows of one matrix. The matrix is a memory-mapped file in a folder
named after the encoder's fingerprint (`vector_file.py`). Of completions (`embed`) only the latest `capacity`
stay, in memory. Where the disk cannot be written, the matrix stays in memory and one warning says so.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from reward.encoder import Encoder, check_unit_rows
from reward.vector_file import KEY_BYTES, VectorFile

BATCH = 4096  # texts encoded at once, and then written


class EmbeddingStore:
    """Embeds texts with `encoder`; with `folder` None nothing is written to disk. `num_requested` and
    `num_encoded` count texts, for the log.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: Path | None,
        *,
        capacity: int = 8192,
        say: Callable[[str], None] = print,
    ) -> None:
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint
        self.folder = folder / encoder.fingerprint[:16] if folder else None
        self.capacity = capacity
        self.num_requested = 0
        self.num_encoded = 0
        self._say = say
        self._table: VectorFile | _Rows = _Rows({}, torch.empty(0, encoder.dim))
        self._recent: dict[bytes, Tensor] = {}  # in order of arrival
        if self.folder:
            try:
                self._table = VectorFile(self.folder, encoder.fingerprint, encoder.dim, say)
            except OSError as error:
                self._warn_memory_only(error)

    @property
    def hits(self) -> int:
        """The number of texts whose vector came from the cache."""
        return self.num_requested - self.num_encoded

    @property
    def matrix(self) -> Tensor:
        """Vectors of the reference texts (R, dim), fp32, contiguous; valid until the next `locate` or
        `remember` that adds texts.
        """
        return self._table.matrix

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU. Equal texts get equal rows, cached or not."""
        keys = [_key(text) for text in texts]
        index = self._table.index
        matrix = self._table.matrix
        fresh = self._encode(
            {k: text for k, text in zip(keys, texts, strict=True) if k not in index and k not in self._recent}
        )
        self.num_requested += len(texts)
        rows = [
            matrix[index[k]] if k in index else self._recent[k] if k in self._recent else fresh[k]
            for k in keys
        ]
        self._recent |= fresh
        for key in list(islice(self._recent, max(0, len(self._recent) - self.capacity))):
            del self._recent[key]
        return torch.stack(rows) if rows else torch.empty(0, self.encoder.dim)

    def locate(self, texts: Sequence[str]) -> Tensor:
        """Rows (n,) int64 of `matrix` for reference texts; new texts are embedded and kept."""
        keys = self._add_missing(texts)
        return torch.tensor([self._table.index[key] for key in keys], dtype=torch.int64)

    def remember(self, texts: Sequence[str]) -> None:
        """Embed reference texts and keep their vectors, on disk too, BATCH texts at a time."""
        self._add_missing(texts)

    def summary(self) -> str:
        """One line for the log, as `embeddings: 8,782 texts asked, 8,782 from the cache (100.0 %), 0 encoded`."""
        share = self.hits / self.num_requested if self.num_requested else 0.0
        return (
            f"embeddings: {self.num_requested:,} texts asked, {self.hits:,} from the cache ({100 * share:.1f} %), "
            f"{self.num_encoded:,} encoded"
        )

    def _add_missing(self, texts: Sequence[str]) -> list[bytes]:
        """Add the texts that have no row yet; return the keys of all of them."""
        keys = [_key(text) for text in texts]
        self.num_requested += len(texts)
        text_of_key = dict(zip(keys, texts, strict=True))
        # again if another process renamed the files meanwhile
        while missing := [key for key in text_of_key if key not in self._table.index]:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                rows = {key: self._recent.pop(key) for key in batch if key in self._recent}
                rows |= self._encode({key: text_of_key[key] for key in batch if key not in rows})
                self._append(list(rows), torch.stack(list(rows.values())))
        return keys

    def _append(self, keys: Sequence[bytes], rows: Tensor) -> None:
        try:
            self._table.append(keys, rows)
        except OSError as error:
            self._warn_memory_only(error)
            self._table = _Rows(self._table.index, self._table.matrix)
            self._table.append(keys, rows)

    def _encode(self, texts: Mapping[bytes, str]) -> dict[bytes, Tensor]:
        """Encode texts that are all different, BATCH at a time."""
        self.num_encoded += len(texts)
        pending = list(texts.values())
        vectors: list[Tensor] = []
        for start in range(0, len(pending), BATCH):
            batch = pending[start : start + BATCH]
            rows = check_unit_rows(self.encoder.encode(batch), batch, self.encoder.dim, self.fingerprint[:16])
            vectors += (row.clone() for row in rows)  # a view would keep its whole batch in memory
        return dict(zip(texts, vectors, strict=True))

    def _warn_memory_only(self, error: OSError) -> None:
        self._say(
            f"embeddings: {self.folder} cannot be used ({error.strerror or error}); vectors stay in memory and go with this run"
        )


class _Rows:
    """Rows in memory with the interface of `VectorFile`. Its capacity doubles when full, so each row is
    copied about once.
    """

    def __init__(self, index: Mapping[bytes, int], matrix: Tensor) -> None:
        self.index = dict(index)
        self._room = matrix
        self._count = len(matrix)

    @property
    def matrix(self) -> Tensor:
        return self._room[: self._count]

    def append(self, keys: Sequence[bytes], rows: Tensor) -> None:
        """Add rows (n, dim) of new keys."""
        num_rows = self._count + len(rows)
        if num_rows > len(self._room):
            room = torch.empty(max(num_rows, 2 * len(self._room)), self._room.shape[1])
            room[: self._count] = self.matrix
            self._room = room
        self._room[self._count : num_rows] = rows
        self.index |= zip(keys, range(self._count, num_rows), strict=True)
        self._count = num_rows


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()
