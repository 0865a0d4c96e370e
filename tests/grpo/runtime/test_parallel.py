"""One process and two give the same gradients, the same policy and the same log."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parallel_child import gradients, random_parameters, trained_policy
from processes import run_processes
from repository import SUPPORT
from run_object import run_in
from safetensors.torch import load_file
from tiny_run import arguments, metrics, write_corpus

from data.errors import InputError
from grpo.config import Config, ParallelConfig, SFTConfig
from grpo.run import main
from grpo.runtime.parallel import SINGLE_PROCESS, World, meet
from grpo.stages.prepare import check_world


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    run_processes([sys.executable, str(SUPPORT / "parallel_child.py"), str(folder)], 2)
    return folder


def test_gradient_does_not_depend_on_the_number_of_processes(two: Path, tmp_path: Path) -> None:
    """fp64, every objective, ragged groups: equal to 1e-10 in every parameter, and bit-equal between the two
    processes.
    """
    alone = gradients(SINGLE_PROCESS, tmp_path)
    first, second = (load_file(two / f"gradients-{rank}.safetensors") for rank in range(2))
    for name, expected in alone.items():
        assert (first[name] - expected).abs().max() < 1e-10, name
        assert torch.equal(first[name], second[name]), name
    assert max(values.abs().max().item() for name, values in alone.items() if ":transformer" in name) > 1e-2


def test_training_does_not_depend_on_the_number_of_processes(two: Path, tmp_path: Path) -> None:
    """Two processes draw what one draws; they end bit-equal, and equal to the one but for rounding, which
    Adam enlarges.
    """
    alone = trained_policy(SINGLE_PROCESS, tmp_path)
    first, second = (load_file(two / f"policy-{rank}.safetensors") for rank in range(2))
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - expected).norm() < 1e-3 * expected.norm(), name
    logs = [(folder / "rank-0" / "metrics.jsonl").read_text().splitlines() for folder in (two, tmp_path)]
    rows = [[json.loads(line) for line in lines] for lines in logs]
    for ours, theirs in zip(*rows, strict=True):
        for name in ("reward_mean", "kl_mean", "entropy_mean", "grad_norm", "tokens", "distinct_share"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-7), name


def test_gradients_summed_in_buckets_are_those_summed_one_by_one_to_the_bit(two: Path) -> None:
    first, second = (load_file(two / f"sums-{rank}.safetensors") for rank in range(2))
    own = [random_parameters(rank) for rank in range(2)]
    assert len(first) == 14
    for n, (one, other) in enumerate(zip(*own, strict=True)):
        if one.grad is not None and other.grad is not None:
            for sums in (first, second):
                assert torch.equal(sums[f"buckets:{n}"], sums[f"one by one:{n}"])
                assert torch.equal(sums[f"buckets:{n}"], one.grad + other.grad)


def test_a_single_process_leaves_gradients_as_they_are() -> None:
    parameters = random_parameters(0)
    before = [one.grad for one in parameters]
    SINGLE_PROCESS.sum_gradients(parameters)
    assert all(one.grad is grad for one, grad in zip(parameters, before, strict=True))


def test_a_world_of_one_gives_back_what_it_gets() -> None:
    rows = torch.arange(6).view(3, 2)
    assert SINGLE_PROCESS.gather(rows) is rows
    assert SINGLE_PROCESS.share(5) == slice(0, 5)
    assert SINGLE_PROCESS.total({"a": (1.0, 2.0)}) == {"a": (1.0, 2.0)}
    assert SINGLE_PROCESS.largest({"a": 3.0}) == {"a": 3.0}
    assert SINGLE_PROCESS.any(True) and not SINGLE_PROCESS.any(False)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_cover_everything_once(size: int) -> None:
    shares = [list(range(12))[World(rank, size).share(12)] for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(12)) and {
        len(share) for share in shares
    } == {12 // size}


def test_the_whole_command_by_two_processes(tiny_folder: Path, tmp_path: Path, empty_cache: None) -> None:
    """Warm start, GRPO with dev set and checkpoints, evaluation: files of one run, the policy of one process,
    every line said once.
    """
    corpus = write_corpus(tmp_path / "pairs.tsv")
    settings = [
        f"reward.encoder=static:{tiny_folder}",
        "reward.gates=[]",
        "reward.threshold=-1.0",
        "eval.every=2",
        "checkpoint.every=1",
    ]
    settings += ["sft.optim.lr=1e-3", "sft.optim.weight_decay=0.0", "threads=1"]
    commands = {n: [*arguments(corpus, tiny_folder, tmp_path / n / "run"), *settings] for n in ("one", "two")}
    assert main(commands["one"]) == 0
    first, second = run_processes([sys.executable, "-m", "grpo.run", *commands["two"]], 2)
    assert first.count("== train\n") == 1 and "== train" not in second and "reward" not in second
    one = tmp_path / "one" / "run"
    two = tmp_path / "two" / "run"
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()} | {"ranks"}
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for name in ours.keys() & {"loss", "reward_mean", "entropy_mean", "grad_norm", "tokens"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
    policies = [load_file(run / "policy" / "model.safetensors") for run in (one, two)]
    assert all(
        (policies[1][name] - values).norm() < 1e-2 * values.norm() for name, values in policies[0].items()
    )


def test_several_processes_under_the_mode_of_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(
        InputError, match=r'^parallel\.mode = "none" is for one process, and 3 were started; write "data"'
    ):
        meet(ParallelConfig("none"))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert meet(ParallelConfig("none")) is SINGLE_PROCESS
    assert not World(0, 1, "fsdp").is_sharded and World(0, 2, "fsdp").is_sharded


def test_prompts_that_cannot_be_shared_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, Config(), world=World(0, 3))
    with pytest.raises(
        InputError,
        match=r"3 processes cannot share 8 prompts an update; make train\.prompts_per_update a multiple of 3",
    ):
        check_world(run)
    few = replace(run, config=Config(sft=SFTConfig(batch_size=1)), world=World(0, 2))
    with pytest.raises(InputError, match=r"2 processes cannot share sft\.batch_size = 1; make it 2 or more"):
        check_world(few)
