"""Loading in shares by 2 and 4 real processes: the bits of a whole model that is then cut, in the memory of a share."""

import sys
from pathlib import Path

import pytest
from ranks import run_ranks
from sharded_loading import FAMILIES, checks_before_training, large_llama, load_both_ways, memory_of_a_load

PROCESSES = pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a folder for each model."""
    found = tmp_path_factory.mktemp("models")
    for name, make in FAMILIES.items():
        make().save_pretrained(found / name)
    return found


@PROCESSES
def test_shares_are_those_of_a_whole_model_that_is_cut(size: int, folder: Path) -> None:
    """Bit for bit: tied and untied heads, biases, uneven and empty shares, a family that only transformers can load."""
    assert run_ranks(size, load_both_ways, folder) == [0] * size


def test_checks_before_training_run_on_shares(folder: Path) -> None:
    assert run_ranks(2, checks_before_training, folder) == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@PROCESSES
def test_memory_at_its_peak_is_that_of_a_share(size: int, folder: Path) -> None:
    if not (folder / "large").exists():
        large_llama().save_pretrained(folder / "large")
    assert run_ranks(size, memory_of_a_load, folder) == [0] * size
