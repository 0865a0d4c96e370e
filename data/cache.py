"""Where everything obtained or derived is kept, and how files get there without ever being half-written.

One folder holds downloads, converted models and embeddings: `SEMANTIC_GRPO_CACHE`, or `.cache` in the checkout.
It can be deleted at any time; the next run makes it again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE_VARIABLE = "SEMANTIC_GRPO_CACHE"


def cache_dir() -> Path:
    """The cache folder, made on first use."""
    path = Path(os.environ.get(CACHE_VARIABLE) or Path(__file__).resolve().parent.parent / ".cache").expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def fsync_path(path: Path) -> None:
    """Flush one file or folder entry to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` so that a reader sees the old file or the whole new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with work.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(work, path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well and disappears when it does not.

    Every file is flushed before the rename, so `path` exists only complete. An older `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield work
        for file in work.rglob("*"):
            if file.is_file():
                fsync_path(file)
        retired = None
        if path.exists():
            retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".old.{path.name}."))
            os.replace(path, retired / path.name)
        work.chmod(0o755)
        os.replace(work, path)
        fsync_path(path.parent)
        if retired is not None:
            shutil.rmtree(retired)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
