"""Where the repository lies, its Python files, and where a child process finds our modules and these
helpers.
"""

import configparser
import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SUPPORT = Path(__file__).parent
CHILD_PATH = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}


def setup() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def python_files(folder: str, at_least: int) -> list[Path]:
    """All of a folder of the repository, however deep; fewer than `at_least` are a wrong path."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) >= at_least, f"{folder}: {len(files)} Python files, at least {at_least} were expected"
    return files


def skipped_levels(page: str) -> list[str]:
    """The headings of a Markdown text that are more than one level below the heading before them."""
    text = re.sub(r"^ *```.*?^ *```", "", page, flags=re.DOTALL | re.MULTILINE)
    found = []
    level = 0
    for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE):
        if len(marks) > level + 1:
            found.append(f"{marks} {title}")
        level = len(marks)
    return found
