"""Whole runs with weights in halves and with frozen models on the host: the policy and the log of the plain run."""

from pathlib import Path

import pytest
from tiny_run import arguments, assert_same_run, quick

from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")
ANCHOR = ["anchor.sft=0.5", "anchor.train=0.5"]  # so that the untouched model is there too


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("".join(f"A sentence of no use, number {number}.\n" for number in range(40)))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        ["engine.weights=split"],
        ["engine.weights=split", "engine.frozen=host"],
        ["engine.frozen=host"],
    ],
    ids=" ".join,
)
def test_a_run_ends_in_the_same_policy(
    settings: list[str], corpus: Path, tiny_folder: Path, texts: Path, tmp_path: Path
) -> None:
    common = [*quick(tiny_folder), *ANCHOR, f"anchor.text={texts}", "checkpoint.snapshots=2"]
    plain = tmp_path / "plain"
    other = tmp_path / "other"
    assert main(arguments(corpus, tiny_folder, plain, *common)) == 0
    assert main(arguments(corpus, tiny_folder, other, *common, *settings)) == 0
    assert_same_run(other, plain)
    snapshot = Path("snapshots") / "step-000002"
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (other / snapshot / name).read_bytes() == (plain / snapshot / name).read_bytes()
