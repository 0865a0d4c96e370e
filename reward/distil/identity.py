"""A student lies in the cache under a hash of everything it depends on, its own code included."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Say = Callable[[str], None]


def folder_of(cache: Path, language: str, identity: Mapping[str, Any]) -> Path:
    """Where the student with this identity lies, or would."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache / "encoders" / f"{language}-{digest[:12]}"


def code_hash() -> str:
    """Hash of the code that decides what a student becomes."""
    root = Path(__file__).parent.parent.parent
    files = [root / "reward" / "encoders" / f"{name}.py" for name in ("features", "student")]
    files += sorted((root / "reward" / "distil").glob("*.py"))
    files += [root / "data" / f"{name}.py" for name in ("clean", "examples", "neighbours", "script", "split")]
    files += sorted((root / "data" / "sources").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
