"""The examples in docstrings run and give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from repository import ROOT, python_files

PACKAGES = ("grpo", "reward", "data", "eval", "benchmarks")
SOURCES = [path for folder in PACKAGES for path in python_files(folder, at_least=15)]
COUNTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count(">>> ") for path in SOURCES}
COUNTS = {file: count for file, count in COUNTS.items() if count}


def test_files_with_examples_are_found() -> None:
    assert len(COUNTS) >= 45


@pytest.mark.parametrize("file", COUNTS)
def test_examples_hold(file: str) -> None:
    """All that are written, so none stands where doctest does not look."""
    module = importlib.import_module(".".join(Path(file).with_suffix("").parts))
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert (result.attempted, result.failed) == (COUNTS[file], 0)
