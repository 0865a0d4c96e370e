"""A model in shares (parallel.mode = "fsdp") learns, samples and measures what a whole one does, in 1, 2 and 4 real
processes; and so do processes that each hold the whole (mode "data").
"""

import sys
from pathlib import Path

import pytest
import torch
from processes import run_processes
from repository import SUPPORT
from safetensors.torch import load_file
from sharded_child import everything
from torch import Tensor

from grpo.engine.gathering import fits
from grpo.loss import OBJECTIVES
from grpo.runtime.parallel import SINGLE_PROCESS, World, balanced_shares

Results = dict[str, Tensor]
WHOLE = ("whole", "whole16", "slots")
SAMPLED = (*WHOLE, "layers", "cramped", "unknown", "capped")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return everything(SINGLE_PROCESS, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the results of so many processes."""
    found = tmp_path_factory.mktemp(str(request.param))
    run_processes([sys.executable, str(SUPPORT / "sharded_child.py"), str(found)], request.param)
    return found


@pytest.fixture(params=["data", "fsdp"])
def results(request: pytest.FixtureRequest, folder: Path) -> list[Results]:
    """Of each process."""
    return [load_file(path) for path in sorted(folder.glob(f"{request.param}-*.safetensors"))]


def part(results: Results, name: str) -> Results:
    return {key: value for key, value in results.items() if key.startswith(f"{name}:")}


def parameters_of(results: Results, name: str) -> Results:
    return part(results, f"{name}:")


def test_gradients_do_not_depend_on_the_number_of_processes(alone: Results, results: list[Results]) -> None:
    """fp64, ragged groups, several passes, an anchor, shares of unequal size: 1e-10, for every objective."""
    expected = part(alone, "updates")
    assert len(expected) == len(OBJECTIVES) * 28
    assert max(value.abs().max().item() for name, value in expected.items() if ":transformer" in name) > 1e-2
    for own in results:
        for name, value in expected.items():
            assert (own[name] - value).abs().max() < 1e-10, name


def test_parameters_after_steps_do_not_depend_on_the_number_of_processes(
    alone: Results, results: list[Results]
) -> None:
    """Three updates with a cut norm, then three of SFT, by fused AdamW: 1e-10, and each has moved every matrix."""
    expected = part(alone, "steps")
    assert (expected["steps:norms"] > 0.1).all()
    for own in results:
        for name, value in expected.items():
            assert (own[name] - value).abs().max() < 1e-10, name
    moved = [
        (expected[name.replace("grpo", "sft")] - value).abs().max()
        for name, value in expected.items()
        if name.startswith("steps:grpo") and value.dim() > 1
    ]
    assert len(moved) == 10 and min(moved) > 1e-3


def test_passes_of_sharded_models_are_filled_up(folder: Path) -> None:
    """Else the gradients above would prove less: some process had fewer passes than another. None in mode "data"."""
    counts = {path.stem: int(load_file(path)["filled"]) for path in folder.glob("*.safetensors")}
    assert sum(count for name, count in counts.items() if name.startswith("fsdp")) > 2
    assert all(count == 0 for name, count in counts.items() if name.startswith("data"))


def test_a_gradient_that_is_not_finite_is_skipped_by_all(alone: Results, results: list[Results]) -> None:
    for own in results:
        assert own["not_finite:skipped"] == 1
        for name, value in parameters_of(alone, "not_finite").items():
            assert torch.equal(own[name], value), name


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_do_not_depend_on_the_number_of_processes(
    name: str, alone: Results, results: list[Results]
) -> None:
    """Tokens, greedy texts and the hash of the model are equal; log-probabilities to the noise of the format."""
    tolerance = 2e-3 if name == "whole16" else 1e-5
    # rows and processes end at different times
    assert len(set(alone[f"samples:{name}:lengths"].tolist())) > 3
    for own in results:
        for exact in ("ids", "lengths", "greedy", "hash"):
            assert torch.equal(own[f"samples:{name}:{exact}"], alone[f"samples:{name}:{exact}"]), exact
        for rounded in ("sampler", "trainer"):
            key = f"samples:{name}:{rounded}"
            assert (own[key] - alone[key]).abs().max() < tolerance, rounded
        assert own[f"samples:{name}:in_shares"], "a pass without gradient left gathered parameters behind"


def test_whole_weights_are_gathered_where_they_fit_in_every_process(folder: Path) -> None:
    """A model of our own step, and memory for it in all processes, not only in some."""
    for path in folder.glob("fsdp-*.safetensors"):
        results = load_file(path)
        assert [name for name in SAMPLED if results[f"samples:{name}:has_whole_weights"]] == [*WHOLE]


def test_a_frozen_model_of_two_types_can_be_in_shares(alone: Results, results: list[Results]) -> None:
    assert all(torch.equal(own["frozen:logps"], alone["frozen:logps"]) for own in results)


def test_each_text_is_rewarded_by_one_process(alone: Results, results: list[Results]) -> None:
    assert alone["session:rewarded"] == 3 * 8 * 4
    assert {int(own["session:rewarded"]) for own in results} == {3 * 8 * 4 // len(results)}


def test_a_run_does_not_depend_on_the_number_of_processes(alone: Results, results: list[Results]) -> None:
    """Three steps of two passes and four updates: equal but for rounding, which Adam enlarges; all processes alike."""
    for own in results:
        for name, value in parameters_of(alone, "session").items():
            assert (own[name] - value).norm() < 1e-3 * value.norm(), name
            assert torch.equal(own[name], results[0][name]), name


def test_bytes_that_travel_are_those_of_the_formula(results: list[Results]) -> None:
    """Rollouts with whole weights in fp16 and fp32, in slots, layer by layer; scoring and an update with an anchor; sums
    of gradients.
    """
    for own in results:
        counted, expected = own["traffic:bytes"].T
        assert len(counted) in (1, 6) and counted.min() > 0
        assert torch.equal(counted, expected)


@pytest.mark.parametrize(("count", "spread"), [(1, 0), (2, 1), (3, 9), (4, 28)])
def test_shares_are_balanced(count: int, spread: int) -> None:
    """Cut in 3 as they come, the sums would differ by 72."""
    sizes = [7, 90, 3, 30, 30, 1, 60, 20, 5, 2, 11, 40]
    shares = balanced_shares(sizes, count)
    assert sorted(item for share in shares for item in share) == list(range(12))
    assert {len(share) for share in shares} == {12 // count}
    assert shares == [sorted(share) for share in shares]
    sums = [sum(sizes[item] for item in share) for share in shares]
    assert max(sums) - min(sums) <= spread


def test_every_process_gets_an_item_while_there_are_enough() -> None:
    assert balanced_shares([5, 1, 1, 1, 1], 4) == [[0], [1, 4], [2], [3]]
    assert balanced_shares([3, 3], 4) == [[0], [1], [], []]


def test_gathered_shares_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(24).view(12, 2)  # 6 items of 2 rows
    shares = balanced_shares([1, 9, 2, 8, 3, 7], 2)
    order = [2 * item + member for share in shares for item in share for member in range(2)]
    monkeypatch.setattr(World, "gather", lambda _self, _own: rows[order])
    assert torch.equal(World(0, 2).gather_shares(rows[:6], shares), rows)
    monkeypatch.setattr(World, "gather", lambda _self, _own: rows[order].view(6, 4))
    assert torch.equal(World(0, 2).gather_shares(rows.view(6, 4)[:3], shares), rows.view(6, 4))


def test_whole_weights_fit_by_their_bytes() -> None:
    assert fits(gathered=16e9, later=12e9, free=76e9) and not fits(gathered=16e9, later=12.1e9, free=76e9)
