"""The examples in the data package's docstrings run and give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", [
        "data.script", "data.clean", "data.interface_text", "data.markup", "data.neighbours",
        "data.sources.catalogue", "data.sources.help_sections",
    ])
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted >= 1 and result.failed == 0
