"""The working folder of tests of `init`."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def place(
    tmp_path: Path, tiny_folder: Path, given_rate: None, empty_cache: None, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder with a model."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path
