"""Text -> unit vector with a memory, so that no text is encoded twice: each distinct text of a call once, a reference text once ever.

Reference texts are announced with `remember` and go to disk (one safetensors file per encoder fingerprint). Completions are new
all the time: only the latest `capacity` of them stay in memory. A damaged file is set aside, said, and made again.
Not an index for search and not shared between processes that write at once (the last writer's file stays).
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.cache import atomic_folder
from reward.encoder import Encoder

FILE = "vectors.safetensors"
KEY_BYTES = 16
BATCH = 4096  # texts given to the encoder at once


class EmbeddingStore:
    """Embeds texts with `encoder`; `folder` None keeps nothing on disk. `requested` and `encoded` count texts, for the log."""

    def __init__(self, encoder: Encoder, folder: Path | None, *, capacity: int = 8192, say: Callable[[str], None] = print) -> None:
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint
        self.path = folder / encoder.fingerprint[:16] / FILE if folder else None
        self.capacity = capacity
        self.requested = 0
        self.encoded = 0
        self._kept: dict[bytes, Tensor] = _read(self.path, encoder, say) if self.path and self.path.exists() else {}
        self._recent: dict[bytes, Tensor] = {}  # in order of arrival

    @property
    def hits(self) -> int:
        """Texts answered without the encoder."""
        return self.requested - self.encoded

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU. Equal texts get equal rows, remembered or not."""
        keys = [_key(text) for text in texts]
        fresh = self._encode(keys, texts)
        self.requested += len(texts)
        known = {**fresh, **{key: self._recent[key] for key in keys if key in self._recent}}
        rows = [known[key] if key in known else self._kept[key] for key in keys]
        self._recent.update(fresh)
        for key in list(self._recent)[: max(0, len(self._recent) - self.capacity)]:
            del self._recent[key]
        return torch.stack(rows) if rows else torch.empty(0, self.encoder.dim)

    def remember(self, texts: Sequence[str]) -> None:
        """Embed texts that will come back (the reference texts) and keep them, on disk too."""
        keys = [_key(text) for text in texts]
        fresh = self._encode(keys, texts)
        moved = {key: self._recent.pop(key) for key in keys if key in self._recent}
        self.requested += len(texts)
        if fresh or moved:
            self._kept.update(fresh | moved)
            if self.path:
                _write(self.path, self._kept, self.encoder)

    def _encode(self, keys: Sequence[bytes], texts: Sequence[str]) -> dict[bytes, Tensor]:
        """Vectors of the texts not met before, each distinct text once."""
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept and key not in self._recent}
        self.encoded += len(new)
        pending = list(new.values())
        vectors = [row.clone() for i in range(0, len(pending), BATCH) for row in self.encoder.encode(pending[i : i + BATCH])]
        return dict(zip(new, vectors, strict=True))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def _checksum(keys: Tensor, vectors: Tensor) -> str:
    digest = hashlib.sha256(keys.numpy().tobytes())
    digest.update(vectors.numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, kept: dict[bytes, Tensor], encoder: Encoder) -> None:
    keys = torch.frombuffer(bytearray(b"".join(kept)), dtype=torch.uint8).view(-1, KEY_BYTES)
    vectors = torch.stack(list(kept.values()))
    with atomic_folder(path.parent) as work:
        metadata = {"encoder": encoder.fingerprint, "sha256": _checksum(keys, vectors)}
        save_file({"keys": keys, "vectors": vectors}, work / path.name, metadata=metadata)


def _read(path: Path, encoder: Encoder, say: Callable[[str], None]) -> dict[bytes, Tensor]:
    """The remembered vectors; an unreadable or altered file is renamed to *.damaged and counts as empty."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, keys, vectors = file.metadata() or {}, file.get_tensor("keys"), file.get_tensor("vectors")
        if metadata != {"encoder": encoder.fingerprint, "sha256": _checksum(keys, vectors)} or vectors.shape != (len(keys), encoder.dim):
            raise ValueError("its content does not match its checksum")
    except (OSError, ValueError, SafetensorError) as error:
        damaged = path.with_name(f"{path.name}.damaged")
        os.replace(path, damaged)
        say(f"embeddings: {path} is damaged ({error}); set aside as {damaged.name}, its texts will be embedded again")
        return {}
    return dict(zip((bytes(key) for key in keys.numpy()), vectors.unbind(), strict=True))
