"""A run folder and a server of its policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_server import NEW, serving, write_run

from data.template import Wording
from grpo.serve.http_server import Server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wording = Wording(template="{source_language}: {source}=")
    return write_run(tmp_path_factory.mktemp("serve") / "run", ("bo", "zh", "mt"), wording, NEW)


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serving(run, "--batch-size", "8") as one:
        yield one
