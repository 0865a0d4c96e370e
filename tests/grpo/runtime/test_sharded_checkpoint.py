"""Checkpoints and exports of a model in shares: exact, readable by any number of processes, atomic, checked, and
without a pickle.
"""

import json
import pickle
import shutil
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from explore import flip, truncate
from ranks import run_ranks
from safetensors.torch import load_file
from sharded import (
    FAMILIES,
    SMALL,
    STATE,
    WRITE,
    everything,
    fields,
    go_on,
    memory_of_a_save,
    plain_checkpoint,
    save_and_restore,
    save_twice,
    train,
    trainee,
    whole_run,
)
from tiny_faults import KILL, RENAME, Fault, at_call
from tiny_run import arguments, metrics, quick
from transformers import AutoModelForCausalLM

from data.errors import InputError
from grpo.engine.weight_files import ModelTensors, write_folder
from grpo.run import main
from grpo.runtime import checkpoint
from grpo.runtime.parallel import SINGLE_PROCESS
from grpo.runtime.shares import SHARES

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes wrote."""
    folder = tmp_path_factory.mktemp("four")
    plain_checkpoint(folder / "plain")
    assert run_ranks(4, save_and_restore, folder) == [0, 0, 0, 0]
    return folder


@pytest.fixture
def saved(four: Path, tmp_path: Path) -> Path:
    """A copy of the folder of checkpoints."""
    return shutil.copytree(four / "shares", tmp_path / "shares")


def assert_same(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_one_process_restores_what_four_saved_bit_for_bit(four: Path) -> None:
    """Uneven and empty shares, fp32 moments, the step of AdamW, the middle of a step; then it goes on as they did."""
    model, optimizer = trainee(SINGLE_PROCESS, seed=9)
    state = checkpoint.restore(four / "shares" / "step-000002.1", model, optimizer)
    assert fields(state) == fields(STATE) and optimizer.update == 2
    there = load_file(four / "saved.safetensors")
    assert {name.partition(":")[0] for name in there if ":" in name} == {"exp_avg", "exp_avg_sq", "step"}
    assert_same(everything(model, optimizer), there)
    losses = torch.tensor(train(SINGLE_PROCESS, model, optimizer, 2))
    assert torch.allclose(losses, load_file(four / "later.safetensors")["losses"], rtol=1e-6, atol=0)


def test_two_processes_restore_what_four_saved_bit_for_bit(four: Path, tmp_path: Path) -> None:
    """In shares, and as whole models, whose checkpoint is then that of one process."""
    assert run_ranks(2, go_on, four / "shares" / "step-000002.1", tmp_path) == [0, 0]
    there = load_file(four / "saved.safetensors")
    for mode in ("fsdp", "data"):
        assert_same(load_file(tmp_path / f"{mode}.safetensors"), there)
        path = tmp_path / mode / "step-000002.1"
        assert len([*path.glob(SHARES)]) == (2 if mode == "fsdp" else 0) and checkpoint.damage_of(path) == ""
    plain = set(checkpoint.NEEDED) | {checkpoint.STEP, "checksums.json"}
    assert {file.name for file in (tmp_path / "data" / "step-000002.1").iterdir()} == plain
    losses = load_file(tmp_path / "later.safetensors")["losses"]
    assert torch.allclose(losses, load_file(four / "later.safetensors")["losses"], rtol=1e-6, atol=0)


def test_four_processes_restore_what_one_saved_bit_for_bit(four: Path) -> None:
    model, optimizer = trainee(SINGLE_PROCESS, seed=9)
    checkpoint.restore(four / "plain" / "step-000002.1", model, optimizer)
    assert_same(everything(model, optimizer), load_file(four / "from_plain.safetensors"))


def test_each_process_writes_its_share_once_and_nothing_is_pickled(four: Path) -> None:
    path = four / "shares" / "step-000002.1"
    shares = sorted(path.glob(SHARES))
    assert {name for file in shares for name in [file.name[:11]]} == {f"shard-0000{n}" for n in (1, 2, 3, 4)}
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
    whole = load_file(four / "saved.safetensors")
    per_file = [sum(value.nbytes for value in load_file(file).values()) for file in shares]
    assert sum(per_file) == sum(value.nbytes for value in whole.values())
    assert max(per_file) < 0.3 * sum(per_file)
    for file in path.iterdir():
        assert pickle.PROTO + b"\x04" not in file.read_bytes()[:2] and b"torch" not in file.read_bytes()
    assert checkpoint.best(four / "shares") == (path, 0.5)


def test_nothing_pickled_is_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by Python nor by torch, also where someone lays torch's own metadata beside the files."""
    path = saved / "step-000002.1"
    (path / ".metadata").write_bytes(b"\x80\x04cos\nsystem\n.")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(name, refuse)
    checkpoint.restore(path, *trainee(SINGLE_PROCESS))


def test_a_save_takes_the_memory_of_a_file_of_it_and_not_of_a_share(tmp_path: Path) -> None:
    assert run_ranks(2, memory_of_a_save, tmp_path) == [0, 0]


@pytest.mark.parametrize("spoil", [flip, truncate, Path.unlink])
def test_any_damage_is_noticed_named_and_stepped_over(spoil: Callable[[Path], None], saved: Path) -> None:
    """Each file in turn: the shares of each process, the middle of a step, the state, the checksums."""
    whole = saved / "step-000002.1"
    shutil.copytree(whole, saved / "step-000001")
    names = sorted(file.name for file in whole.iterdir())
    assert len(names) == 4 + 3
    for name in names:
        later = shutil.copytree(whole, saved / "step-000003")
        spoil(later / name)
        said: list[str] = []
        assert checkpoint.newest(saved, said.append) == whole
        assert (
            len(said) == 1
            and said[0].startswith(f"{later}: {name}")
            and "going on from step-000002.1" in said[0]
        )


def test_the_shares_of_another_model_are_refused(saved: Path) -> None:
    model = FAMILIES["llama"]()
    with pytest.raises(InputError, match=r"q_proj.weight is \(8, 32\) .* and \(32, 32\)"):
        checkpoint.load_parameters(saved / "step-000002.1", model)


KILLS: dict[str, tuple[int, Fault]] = {
    "the second process, before it writes": (1, partial(at_call, WRITE, 2, KILL)),
    "the second process, when it has written": (1, partial(at_call, "grpo.runtime.shares:fingerprint", 2, KILL)),
    "the first process, before the checksums": (0, partial(at_call, "grpo.runtime.checkpoint:write_checksums", 2, KILL)),
    "the first process, before the rename": (
        0,
        partial(
            at_call, "grpo.runtime.checkpoint:write_checksums", 2, partial(at_call, RENAME, 1, KILL), after=True
        ),
    ),
    "the first process, after the rename": (
        0,
        partial(
            at_call,
            "grpo.runtime.checkpoint:write_checksums",
            2,
            partial(at_call, RENAME, 1, KILL, after=True),
            after=True,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "moment", [*list(KILLS)[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(KILLS)[2:])]
)
def test_a_kill_while_saving_leaves_the_checkpoint_before(moment: str, tmp_path: Path) -> None:
    rank, fault = KILLS[moment]
    codes = run_ranks(2, save_twice, tmp_path, faults={rank: fault})
    assert codes[rank] == -9 and codes[1 - rank] != 0
    said: list[str] = []
    path = checkpoint.newest(tmp_path, said.append)
    step = 2 if moment.endswith("after the rename") else 1
    assert path == tmp_path / f"step-00000{step}" and said == []
    model, optimizer = trainee(SINGLE_PROCESS)
    assert checkpoint.restore(path, model, optimizer).step == step == optimizer.update
    assert not list(tmp_path.glob(".unfinished-*"))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_export_from_shares_is_that_of_the_whole_model(name: str, four: Path, tmp_path: Path) -> None:
    """The same keys, a tied weight once, the same settings, the same files where they have the same order."""
    model = FAMILIES[name]()
    model.save_pretrained(tmp_path / "whole", max_shard_size=SMALL)
    export = four / "exports" / name
    for file in ("config.json", "generation_config.json"):
        assert (export / file).read_text() == (tmp_path / "whole" / file).read_text()
    parts, expected = ({key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}
                       for folder in (export, tmp_path / "whole"))  # fmt: skip
    assert_same(parts, expected)
    index = json.loads((export / "model.safetensors.index.json").read_text())
    sizes: dict[str, int] = defaultdict(int)
    for key, file in index["weight_map"].items():
        sizes[file] += parts[key].nbytes
    largest = max(value.nbytes for value in parts.values())
    assert len(sizes) > 2 and max(sizes.values()) <= max(SMALL, largest)
    assert index["metadata"] == {
        "total_parameters": model.num_parameters(),
        "total_size": sum(sizes.values()),
    }
    loaded = AutoModelForCausalLM.from_pretrained(export)
    assert_same(dict(loaded.state_dict()), dict(model.state_dict()))


def test_one_file_where_it_fits(tmp_path: Path) -> None:
    model = FAMILIES["gemma"]()
    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", model, ModelTensors(model))
    model.save_pretrained(tmp_path / "theirs")
    assert {file.name: file.read_bytes() for file in (tmp_path / "ours").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "theirs").iterdir()
    }


def test_the_best_checkpoint_is_exported_from_its_shares(four: Path, tmp_path: Path) -> None:
    """Into another model's place, whose own tensors are not read."""
    model, _ = trainee(SINGLE_PROCESS, seed=9)
    write_folder(tmp_path, model, checkpoint.SavedModel(four / "shares" / "step-000002.1", model))
    there = {name: value for name, value in load_file(four / "saved.safetensors").items() if ":" not in name}
    assert_same(load_file(tmp_path / "model.safetensors"), there)


@pytest.mark.usefixtures("own_cache")
def test_a_run_that_was_killed_in_shares_goes_on_alone(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Two processes make snapshots and are killed; one goes on from their checkpoint and saves the policy that one
    alone makes, but for rounding.
    """
    more = ["parallel.mode=fsdp", "checkpoint.every=1", "checkpoint.snapshots=2", "eval.every=2"]
    alone, run = tmp_path / "alone" / "run", tmp_path / "two" / "run"
    assert main(arguments(corpus, tiny_folder, alone, *quick(tiny_folder), *more)) == 0
    command = arguments(corpus, tiny_folder, run, *quick(tiny_folder), *more)
    kill = partial(at_call, "grpo.optim:Optimizer.step", 3 + 4, KILL)  # the last step of all
    codes = run_ranks(2, whole_run, command, tmp_path, faults={1: kill})
    assert codes[1] == -9 and codes[0] != 0
    (path,) = (run / "checkpoints" / "train").glob("step-000003")
    assert len([*path.glob(SHARES)]) == 2
    assert main(command) == 0
    for ours, theirs in zip(metrics(run), metrics(alone), strict=True):
        for name in ours.keys() & {"loss", "reward_mean", "grad_norm", "tokens"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
    for place in ("warm_start", "snapshots/step-000002", "policy"):
        one, other = (load_file(folder / place / "model.safetensors") for folder in (alone, run))
        assert one.keys() == other.keys()
        assert all((one[name] - value).norm() < 1e-2 * value.norm() for name, value in other.items())
