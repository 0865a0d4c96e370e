"""Files out of wheels, sdists, npm and Debian archives, without running or installing anything.

Only plain files are taken (no link, no device), only those whose path matches a pattern, and never to a place outside the folder.
"""

import hashlib
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from data.cache import atomic_folder
from data.errors import InputError


def unpack(archive: Path, folder: Path, members: tuple[str, ...] = ("*",)) -> Path:
    """The folder, under `folder`, with the files of `archive` that match one of `members`; made on the first call.

    A pattern's `*` also spans `/`. Raises InputError for a broken archive and for a member that points outside.
    """
    key = hashlib.sha256("\n".join(members).encode()).hexdigest()[:8]
    target = folder / f"{archive.name}-{key}"
    if target.exists():
        return target
    try:
        with atomic_folder(target) as work:
            for name, file in _files(archive):
                if any(fnmatchcase(name, pattern) for pattern in members):
                    _write(work, name, file, archive)
    except (tarfile.TarError, zipfile.BadZipFile, subprocess.CalledProcessError, EOFError, OSError) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}); delete its folder to have it downloaded again") from error
    return target


def _write(folder: Path, name: str, file: IO[bytes], archive: Path) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{archive} has a member {name!r} outside its own folder; nothing was taken from it")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.read())


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and open file of every plain file in an archive of any of the four kinds."""
    if archive.suffix in {".whl", ".zip"}:
        yield from _zip_files(archive)
    elif archive.suffix == ".deb":
        with _debian_tar(archive) as tar:
            yield from _tar_files(tar)
    else:
        with tarfile.open(archive, "r|*") as tar:
            yield from _tar_files(tar)


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            if not info.is_dir():
                with zipped.open(info) as file:
                    yield info.filename, file


def _tar_files(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        file = tar.extractfile(member) if member.isreg() else None
        if file is not None:
            yield member.name.removeprefix("./"), file


@contextmanager
def _debian_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            yield tar
        process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
