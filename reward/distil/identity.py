"""A student lies in the cache under a hash of everything it depends on, the number of its code included."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# raised when what a student becomes may change: students are then made again
# (tests/project/test_code_numbers.py)
CODE = 2
Say = Callable[[str], None]


def folder_of(cache: Path, language: str, identity: Mapping[str, Any]) -> Path:
    """Where the student with this identity lies, or would."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache / "encoders" / f"{language}-{digest[:12]}"
