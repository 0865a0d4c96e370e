"""The cache folder, and atomic writes: no file or folder is ever visible half-written.

One folder holds downloads, converted models and embeddings: `SEMANTIC_GRPO_CACHE`, or `.cache` in the
checkout, or the user's cache folder where the package is installed. It can be deleted at any time; the next
run makes it again.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from data.system import fsync_path, lock, user_cache

CACHE_VARIABLE = "SEMANTIC_GRPO_CACHE"
# scratch folders: the writer holds LOCK; NEW becomes the target; OLD/name is the target it replaces
UNFINISHED = ".unfinished-"
LOCK = "lock"
NEW = "new"
OLD = "old"
GONE = "gone"
# no room on the disk, in the user's share of it, for a file of this size
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_dir() -> Path:
    """The cache folder, made on first use. The variable is read at each call, so that tests and a study's children
    may set it.
    """
    path = Path(
        os.environ.get(CACHE_VARIABLE) or default_cache(Path(__file__).resolve().parent.parent)
    ).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def default_cache(root: Path) -> Path:
    """The cache folder of the package in `root`: in a checkout its own `.cache`; for an installed package the
    user's cache folder.
    """
    if (root / "pyproject.toml").exists():
        return root / ".cache"
    return user_cache() / "semantic-grpo"


def fsync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and `folder` itself."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir() or path.is_file():
            fsync_path(path)


@contextmanager
def name_disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the disk without a file name, such as a write to a full disk, or with that of a scratch folder
    into an OSError that names `path`.
    """
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    except OSError as error:
        is_scratch = UNFINISHED in str(error.filename)  # a name that says nothing to a reader
        is_nameless = error.filename is None and error.errno in (*FULL, errno.EIO, errno.EROFS)
        if not (is_scratch or is_nameless):
            raise
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` so that a reader sees the old file or the whole new one, also after a crash."""
    with name_disk_errors(path), scratch_folder(path.parent) as scratch:
        work = scratch / NEW
        work.write_text(text, encoding="utf-8")
        fsync_path(work)
        os.replace(work, path)
        fsync_path(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block succeeds and is deleted when it fails.

    All of it is flushed before the rename, so `path` exists only complete. An older `path` is replaced.
    """
    with name_disk_errors(path), scratch_folder(path.parent) as scratch:
        work = scratch / NEW
        work.mkdir()
        yield work
        share_weights(work)
        fsync_tree(work)
        if path.exists():
            (scratch / OLD).mkdir()
            os.replace(path, scratch / OLD / path.name)
        os.replace(work, path)
        fsync_path(path.parent)


def share_weights(folder: Path) -> None:
    """Let those read the weights who may read the folder: safetensors lets the owner alone."""
    for path in folder.rglob("*.safetensors"):
        if not path.is_symlink():
            path.chmod(folder.stat().st_mode & 0o666)


def remove_folder(path: Path) -> None:
    """Delete a folder so that no half of it remains under its name, even if this process is killed."""
    with scratch_folder(path.parent) as scratch:
        os.replace(path, scratch / GONE)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `damaged-NAME`; return the new path."""
    aside = path.with_name(f"damaged-{path.name}")
    if aside.is_dir():
        remove_folder(aside)
    os.replace(path, aside)
    return aside


def remove_unfinished(folder: Path) -> None:
    """Remove the scratch folders of processes that were killed while they wrote into `folder`; those in use stay."""
    for scratch in folder.glob(f"{UNFINISHED}*"):
        descriptor = _lock(scratch)
        if descriptor is not None:
            _discard(scratch, descriptor)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a scratch folder in `parent`, on the same disk, and delete it afterwards; its lock shows that
    this process uses it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(parent)
    descriptor = None
    while descriptor is None:  # another process may delete the folder before we hold its lock
        scratch = Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED))
        descriptor = _lock(scratch, wait=True)
    try:
        yield scratch
    finally:
        _discard(scratch, descriptor)


def _lock(scratch: Path, *, wait: bool = False) -> int | None:
    """The descriptor that holds the lock of a scratch folder; None where another process holds it or removed
    the folder.
    """
    try:
        descriptor = os.open(scratch / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except (FileNotFoundError, PermissionError):  # removed, or another user's
        return None
    try:
        lock(descriptor, wait=wait)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if (scratch / LOCK).exists():
        return descriptor
    os.close(descriptor)
    return None


def _discard(scratch: Path, descriptor: int) -> None:
    """Delete a scratch folder, and close its lock; an old folder in it that was not replaced goes back to its place
    first.
    """
    for old in (scratch / OLD).glob("*"):
        if not (scratch.parent / old.name).exists():
            os.replace(old, scratch.parent / old.name)
    shutil.rmtree(scratch, ignore_errors=True)
    os.close(descriptor)
    if scratch.exists():  # Windows keeps an open file
        shutil.rmtree(scratch, ignore_errors=True)
