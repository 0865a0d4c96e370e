"""An append-only file of vectors on disk, shared by any number of processes; `embedding.py` keeps reference
texts in it.

    header.json     the encoder's fingerprint and D
    vectors.f32     fp32 rows of D numbers, memory-mapped
    keys.bin        a record for each row: 16 bytes of key, 4 of CRC-32 over key and row
    lock            flock of the process that writes

A row counts once its record is whole, and rows reach the disk before their records. So a process killed at
any moment leaves at worst a tail that does not count and that the next process cuts off. Every record is
checked when it is first read. Files that are damaged or belong to another encoder are renamed to *.damaged
with a warning, and new ones are begun. Nothing is deleted, changed or compacted. The lock needs a file system
that shares flock between machines.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

from data.cache import atomic_write_text
from data.system import fsync_path
from data.system import lock as lock_file

HEADER = "header.json"
VECTORS = "vectors.f32"
KEYS = "keys.bin"
LOCK = "lock"
FORMAT = 1
KEY_BYTES = 16
RECORD = struct.Struct(f"<{KEY_BYTES}sI")


class _DamageError(Exception):
    """Says what is wrong with the files."""


class VectorFile:
    """The vectors of one encoder in `folder`: row `index[key]` of `matrix` (R, dim) fp32 belongs to `key`.

    Opening only reads, except to rename damaged files. Row numbers stay valid until the files are renamed;
    then `index` starts empty. Raises OSError where the folder cannot be used.
    """

    def __init__(self, folder: Path, fingerprint: str, dim: int, say: Callable[[str], None] = print) -> None:
        self.folder = folder
        self.index: dict[bytes, int] = {}
        self.matrix = torch.empty(0, dim)
        self._header = {"format": FORMAT, "encoder": fingerprint, "dim": dim, "dtype": "float32"}
        self._say = say
        self._mapped_file: tuple[int, int] | None = (
            None  # device and number of the vectors' file behind `matrix`
        )
        try:
            self._read()
        except (_DamageError, FileNotFoundError):  # or another process is renaming: read again under the lock
            with _exclusive_lock(folder):
                self._read_or_set_aside()

    def append(self, keys: Sequence[bytes], rows: Tensor) -> None:
        """Add the rows (n, dim) whose keys are new to the file; on return they are on disk and in `index` and
        `matrix`.

        Raises OSError where they cannot be written (disk full, no permission), and ValueError for wrong keys
        or rows that are not fp32.
        """
        if (
            rows.shape != (len(keys), self.matrix.shape[1])
            or rows.dtype != torch.float32
            or {*map(len, keys)} - {KEY_BYTES}
        ):
            raise ValueError(
                f"{len(keys)} keys of {KEY_BYTES} bytes and as many fp32 rows of {self.matrix.shape[1]} numbers are needed"
            )
        with _exclusive_lock(self.folder):
            self._read_or_set_aside()
            new = {key: place for place, key in enumerate(keys) if key not in self.index}
            if not new:
                return
            self._write(list(new), rows[list(new.values())])
            try:
                self._read()
            except _DamageError as error:
                raise OSError(f"what was written does not read back: {error}") from error

    def _write(self, keys: Sequence[bytes], rows: Tensor) -> None:
        """Write the rows to disk first, then the records that make them count."""
        size = self.matrix.shape[1] * 4
        content = _bytes(rows.contiguous())
        records = [
            RECORD.pack(key, _checksum(key, content[i * size : (i + 1) * size])) for i, key in enumerate(keys)
        ]
        count = len(self.matrix)
        if not count:
            atomic_write_text(self.folder / HEADER, json.dumps(self._header))
        _append_bytes(self.folder / VECTORS, count * size, content)
        _append_bytes(self.folder / KEYS, count * RECORD.size, b"".join(records))
        if not count:
            fsync_path(self.folder)

    def _read(self) -> None:
        """Read the records that are new, this process's own or another's. Raises _DamageError and then has
        read nothing.
        """
        keys = self.folder / KEYS
        vectors = self.folder / VECTORS
        if not keys.exists() or not keys.stat().st_size:
            self._reset()
            return
        self._check_header()
        identity = _identity(vectors)
        if self._mapped_file != identity:
            self._reset()
        num_known, dim = self.matrix.shape
        records = _records_after(keys, num_known)
        if not records:
            return
        count = num_known + len(records) // RECORD.size
        if not vectors.exists() or vectors.stat().st_size < count * dim * 4:
            raise _DamageError(f"{VECTORS} is shorter than the {count} rows of {KEYS}")
        matrix = torch.from_file(str(vectors), shared=False, size=count * dim, dtype=torch.float32).view(
            count, dim
        )
        _check(records, matrix, num_known)
        self.matrix = matrix
        self._mapped_file = identity
        for row, (key, _) in enumerate(RECORD.iter_unpack(records), num_known):
            self.index.setdefault(key, row)

    def _read_or_set_aside(self) -> None:
        """Read, or rename damaged files; needs the lock. KEYS is renamed first: without it the other files do
        not count.
        """
        try:
            self._read()
        except _DamageError as error:
            for name in (KEYS, VECTORS, HEADER):
                if (self.folder / name).exists():
                    os.replace(self.folder / name, self.folder / f"{name}.damaged")
            self._reset()
            self._say(
                f"embeddings: {self.folder}: {error}; its files are set aside as *.damaged, its texts will be embedded again"
            )

    def _check_header(self) -> None:
        try:
            header = json.loads((self.folder / HEADER).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise _DamageError(f"{HEADER} is missing or cannot be read") from error
        if header != self._header:
            raise _DamageError(f"{HEADER} says {header}, which is not this encoder's {self._header}")

    def _reset(self) -> None:
        self.index = {}
        self.matrix = torch.empty(0, self.matrix.shape[1])
        self._mapped_file = None


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made on first use; the lock ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock_file(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _append_bytes(path: Path, size: int, content: bytes | memoryview) -> None:
    """Cut `path` to its `size` valid bytes, append `content`, and wait until it is on disk."""
    with path.open("ab") as file:
        file.truncate(size)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; the inode is not reused while the file is mapped."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _records_after(path: Path, num_known: int) -> bytes:
    """The whole records after the first `num_known`. Raises _DamageError where the file has fewer."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < num_known * RECORD.size:
            raise _DamageError(f"{KEYS} has become shorter")
        file.seek(num_known * RECORD.size)
        content = file.read()
    return content[: len(content) // RECORD.size * RECORD.size]


def _check(records: bytes, matrix: Tensor, num_known: int) -> None:
    """Raises _DamageError at the first row of `matrix` that does not match its record; `records` begin with
    row `num_known`.
    """
    size = matrix.shape[1] * 4
    content = _bytes(matrix)
    for row, (key, checksum) in enumerate(RECORD.iter_unpack(records), num_known):
        if _checksum(key, content[row * size : (row + 1) * size]) != checksum:
            raise _DamageError(f"row {row} of {VECTORS} does not match its checksum")


def _bytes(rows: Tensor) -> memoryview:
    """The memory of the rows itself, not a copy."""
    return memoryview(rows.view(-1).numpy().data).cast("B")


def _checksum(key: bytes, row: memoryview) -> int:
    return crc32(row, crc32(key))
