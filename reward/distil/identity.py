"""The folder of a student in the cache: its name has a hash of everything it depends on, CODE included."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# raise it when the code would make another student: students are then made again
# (tests/project/test_code_numbers.py)
CODE = 2
Say = Callable[[str], None]


def folder_of(cache: Path, language: str, identity: Mapping[str, Any]) -> Path:
    """The folder of the student with this identity, made or not."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache / "encoders" / f"{language}-{digest[:12]}"
