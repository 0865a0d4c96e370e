"""Extracts files from wheels, sdists, npm and Debian archives, without running or installing anything.

Only plain files are extracted (no link, no device), only those whose path matches a pattern, and never to a
place outside the folder. An archive that says it is larger than any package read here is refused before it
can fill the memory or the disk.
"""

import hashlib
import lzma
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Self

from data.cache import FULL, atomic_folder
from data.errors import InputError

MAX_MEMBERS = 200_000  # the packages read here have up to 25,000
MAX_MEMBER_BYTES = 512 << 20  # ... and up to 13 MB and 220 MB
MAX_TOTAL_BYTES = 2 << 30
MAX_HEADER_BYTES = 1 << 20  # of a name or another header of a tarball, which is read at once
CHUNK_BYTES = 1 << 20
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# errors of the standard library's readers for bytes that are no whole archive, or one they cannot read
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, subprocess.CalledProcessError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    ValueError, TypeError, LookupError, RuntimeError, OverflowError,
)  # fmt: skip


class RefusedError(InputError):
    """A harmful archive, or one that looks so; nothing of it is kept."""


class Member(NamedTuple):
    """An entry of an archive; `file` is None for an entry that is no plain file."""

    name: str
    size: int
    file: IO[bytes] | None


class BoundedTarInfo(tarfile.TarInfo):
    """A header of a tarball that refuses to announce more than fits into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """One header out of its 512 bytes."""
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in HEADERS and info.size > MAX_HEADER_BYTES):
            raise RefusedError(f"a header of {info.size:,} bytes")
        return info


def unpack(archive: Path, folder: Path, members: tuple[str, ...] = ("*",)) -> Path:
    """The folder, under `folder`, with the files of `archive` that match one of `members`; made on the first
    call.

    `*` of a pattern also matches `/`. Raises InputError for a broken archive, one beyond the limits and a
    member outside its folder.
    """
    key = hashlib.sha256("\n".join(members).encode()).hexdigest()[:8]
    target = folder / f"{archive.name}-{key}"
    try:
        if target.exists():
            return target
        with atomic_folder(target) as work, closing(_members(archive)) as entries:
            for name, file in _plain_files(entries):
                if any(fnmatchcase(name, pattern) for pattern in members):
                    _write(work, name, file)
    except RefusedError as error:
        raise RefusedError(f"{archive} has {error}; nothing was taken from it") from error
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # an error of the disk, not of the archive
        raise InputError(
            f"{archive} cannot be unpacked ({error}); delete its folder to have it downloaded again"
        ) from error
    return target


def _plain_files(entries: Iterable[Member]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and open file of every plain file. Checks the limits over all members, as a tarball is read past
    the others too.
    """
    total = 0
    for number, (name, size, file) in enumerate(entries, start=1):
        total += size
        if number > MAX_MEMBERS:
            raise RefusedError(f"more than {MAX_MEMBERS:,} members")
        if size > MAX_MEMBER_BYTES:
            raise RefusedError(f"a member {name!r} of {size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
        if total > MAX_TOTAL_BYTES:
            raise RefusedError(f"members of more than {MAX_TOTAL_BYTES:,} bytes together")
        if file is not None:
            yield name, file


def _write(folder: Path, name: str, file: IO[bytes]) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise RefusedError(f"a member {name!r} outside its own folder")
    if not parts or not name.isprintable():
        raise RefusedError(f"a member {name!r}, which is no name of a file")
    path = folder.joinpath(*parts)
    if path.exists():
        raise RefusedError(f"two members {name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as copy:
        shutil.copyfileobj(file, copy, CHUNK_BYTES)


def _members(archive: Path) -> Generator[Member, None, None]:
    """The members of an archive of any of the four kinds."""
    if archive.suffix in {".whl", ".zip"}:
        yield from _zip_members(archive)
    elif archive.suffix == ".deb":
        with _debian_tar(archive) as tar:
            yield from _tar_members(tar)
    else:
        with tarfile.open(archive, "r|*", tarinfo=BoundedTarInfo) as tar:
            yield from _tar_members(tar)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zip_file:
        for info in zip_file.infolist():
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                yield Member(info.filename, info.file_size, None)
            else:
                with zip_file.open(info) as file:
                    yield Member(info.filename, info.file_size, file)


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        yield Member(
            member.name.removeprefix("./"), member.size, tar.extractfile(member) if member.isreg() else None
        )


@contextmanager
def _debian_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|", tarinfo=BoundedTarInfo) as tar:
            yield tar
        while process.stdout.read(CHUNK_BYTES):  # padding; dpkg-deb fails when it cannot write it
            pass
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
