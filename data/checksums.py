"""Checksums of a folder: checksums.json lists the size and SHA-256 of each of its files.

They detect disk errors, truncation and lost files, but not an attacker who changes both.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKSUMS = "checksums.json"
NONE_KNOWN: Mapping[str, dict[str, Any]] = {}


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(file: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}


def write_checksums(folder: Path, known: Mapping[str, dict[str, Any]] = NONE_KNOWN) -> None:
    """List all files that are in `folder` now; call it last. `known`: fingerprints that need not be taken again."""
    listing = {file.name: known.get(file.name) or fingerprint(file) for file in sorted(folder.iterdir())}
    (folder / CHECKSUMS).write_text(json.dumps(listing, indent=1), encoding="utf-8")


def damage(folder: Path, required: Sequence[str]) -> str:
    """What is wrong with `folder`, in words; "" where the `required` files and all others in checksums.json
    are unchanged.
    """
    try:
        listing = json.loads((folder / CHECKSUMS).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return f"{CHECKSUMS} is missing"
    except ValueError:
        return f"{CHECKSUMS} cannot be read"
    for name in required:
        if not isinstance(listing, dict) or name not in listing:
            return f"{CHECKSUMS} does not list {name}"
    for name, entry in listing.items():
        try:
            current = fingerprint(folder / name)
        except PermissionError:
            raise
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if current != entry:
            return f"{name} ({current['bytes']:,} bytes, SHA-256 {current['sha256'][:12]}) is not what {CHECKSUMS} says was written"
    return ""
