"""Where the repository lies, its Python files, and where a child process finds our modules and these
helpers.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SUPPORT = Path(__file__).parent
CHILD_PATH = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}


def python_files(folder: str, at_least: int) -> list[Path]:
    """All of a folder of the repository, however deep; fewer than `at_least` are a wrong path."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) >= at_least, f"{folder}: {len(files)} Python files, at least {at_least} were expected"
    return files
