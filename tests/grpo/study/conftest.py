"""For all tests of a study: its children as calls."""

import pytest
from tiny_study import Children


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    return Children(monkeypatch)
