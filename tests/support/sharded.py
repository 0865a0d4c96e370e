"""A tiny model in shares, trained, saved and restored: what the processes of test_sharded_checkpoint.py do."""

import errno
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from tiny import tiny_gemma, tiny_gpt2, tiny_llama
from tiny_faults import at_call
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedModel

from data.errors import InputError
from grpo.config import OptimConfig
from grpo.engine.sharding import shard, whole
from grpo.engine.tensor_file import save_file as save_tensors
from grpo.engine.weight_files import ModelTensors, write_folder
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.run import main
from grpo.runtime import checkpoint
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.shares import write_shares

SMALL = 40_000  # bytes of an exported file
WRITE = "torch.distributed.checkpoint.hf_storage:HuggingFaceStorageWriter.write_data"
STATE = LoopState(
    step=2,
    update=1,
    kl_coef=0.1 + 0.2,
    tensors={"rewards": torch.arange(6.0).view(2, 3) / 7, "finished": torch.tensor([True, False])},
    partial={"values": {"lr": 1e-5 / 3}},
)


def odd_gemma(seed: int = 0) -> PreTrainedModel:
    """A tiny model some of whose tensors are empty or uneven in four shares: norms of 2 numbers, 259 rows."""
    model: Any = tiny_gemma()
    config = model.config
    config.head_dim = 2
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return type(model)(config).eval()


def tiny_mixtral() -> PreTrainedModel:
    """A family whose files hold the experts one by one, and whose layers hold them in one tensor."""
    config = MixtralConfig(
        vocab_size=259, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MixtralForCausalLM(config).eval()


FAMILIES = {"gemma": tiny_gemma, "gpt2": tiny_gpt2, "llama": tiny_llama, "mixtral": tiny_mixtral}


def trainee(world: World, seed: int = 0) -> tuple[PreTrainedModel, Optimizer]:
    model = odd_gemma(seed)
    shard(model, world)
    return model, Optimizer(model, OptimConfig(lr=1e-2), num_updates=10)


def train(world: World, model: PreTrainedModel, optimizer: Optimizer, steps: int) -> list[float]:
    """The loss before each update. All processes see the same text, so each takes its part of the loss."""
    losses = []
    for _ in range(steps):
        ids = torch.arange(3, 40).view(1, -1) * (optimizer.update + 1) % 256
        loss = model(input_ids=ids, labels=ids).loss
        (loss / world.size).backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def everything(model: PreTrainedModel, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Parameters and moments, whole, by the names of a checkpoint."""
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    tensors = {**parameters, **checkpoint.moments_of(optimizer)}
    return {name: whole(tensor).detach().clone() for name, tensor in tensors.items()}


def write(world: World, path: Path, tensors: dict[str, torch.Tensor]) -> None:
    if world.is_first:
        save_file(tensors, path)


def save_and_restore(world: World, folder: Path) -> None:
    """In `folder`: a checkpoint, what it must hold, and what follows from it here and from the checkpoint `plain`."""
    model, optimizer = trainee(world)
    train(world, model, optimizer, 2)
    path = checkpoint.save(folder / "shares", model, optimizer, STATE, keep=2, best=0.5, world=world)
    write(world, folder / "saved.safetensors", everything(model, optimizer))
    losses = train(world, model, optimizer, 2)
    write(world, folder / "later.safetensors", {"losses": torch.tensor(losses)})

    again, fresh = trainee(world, seed=9)
    assert fields(checkpoint.restore(path, again, fresh)) == fields(STATE)
    assert train(world, again, fresh, 2) == losses
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to_local(), other.to_local())  # type: ignore[attr-defined]

    again, fresh = trainee(world, seed=9)
    checkpoint.restore(folder / "plain" / path.name, again, fresh)
    write(world, folder / "from_plain.safetensors", everything(again, fresh))
    assert torch.allclose(torch.tensor(train(world, again, fresh, 2)), torch.tensor(losses), rtol=1e-6)
    full_disk_of_one(world, folder / "shares", model, optimizer)
    for name, make in FAMILIES.items():
        export = folder / "exports" / name
        export.mkdir(parents=True, exist_ok=True)
        model = make()
        shard(model, world)
        write_folder(export if world.is_first else None, model, ModelTensors(model), SMALL)


def full_disk_of_one(world: World, folder: Path, model: PreTrainedModel, optimizer: Optimizer) -> None:
    """The third process cannot write: all say so, and what was saved stays."""
    if world.rank == 2:
        at_call(WRITE, 1, no_room)
    try:
        checkpoint.save(folder, model, optimizer, LoopState(step=3), keep=1, world=world)
    except InputError as refusal:
        assert "step-000002.1 is intact; free space" in str(refusal), refusal
    else:
        raise AssertionError("it was written")
    assert [path.name for path in checkpoint.checkpoints(folder)] == ["step-000002.1"]


def no_room() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fields(state: LoopState) -> tuple[object, ...]:
    tensors = {name: values.tolist() for name, values in state.tensors.items()}
    return state.step, state.update, state.kl_coef, tensors, state.partial


def go_on(world: World, path: Path, result: Path) -> None:
    """Restore a checkpoint, in shares and in the mode in which each process holds the whole model; write down what
    came back, and what follows.
    """
    for mode in ("fsdp", "data"):
        of_mode = replace(world, mode=mode)
        model, optimizer = trainee(of_mode, seed=9)
        assert fields(checkpoint.restore(path, model, optimizer)) == fields(STATE)
        write(world, result / f"{mode}.safetensors", everything(model, optimizer))
        checkpoint.save(result / mode, model, optimizer, STATE, keep=1, world=of_mode)
        if mode == "fsdp":
            write(
                world,
                result / "later.safetensors",
                {"losses": torch.tensor(train(world, model, optimizer, 2))},
            )


def whole_run(world: World, argv: list[str], folder: Path) -> None:
    """The command as one of these processes."""
    with (
        open(folder / f"output-{world.rank}", "w") as output,
        redirect_stdout(output),
        redirect_stderr(output),
        mock.patch("grpo.run.meet", lambda *_: world),
    ):
        sys.exit(main(argv))


def plain_checkpoint(folder: Path) -> Path:
    """The same training in one process."""
    model, optimizer = trainee(SINGLE_PROCESS)
    train(SINGLE_PROCESS, model, optimizer, 2)
    return checkpoint.save(folder, model, optimizer, STATE, keep=1)


def save_twice(world: World, folder: Path) -> None:
    model, optimizer = trainee(world)
    for step in (1, 2):
        train(world, model, optimizer, 1)
        checkpoint.save(folder, model, optimizer, LoopState(step=step), keep=1, world=world)


def memory_of_a_save(world: World, folder: Path) -> None:
    """What a process takes to write its share of 96 MiB, and to write them alone tensor by tensor."""
    mesh = init_device_mesh("cpu", (world.size,))
    shares = {str(n): distribute_tensor(torch.ones(1 << 10, 3 << 10), mesh, [Shard(0)]) for n in range(8)}
    whole = {str(n): torch.ones(1 << 10, 3 << 10) for n in range(8)}
    with mock.patch("grpo.runtime.shares.FILE_BYTES", 12 << 20):
        together = peak_bytes(lambda: write_shares(folder, shares, world))
    alone = peak_bytes(lambda: save_tensors(whole, folder / f"alone-{world.rank}"))
    assert 12 << 20 < together < 36 << 20, together
    assert alone < 6 << 20, alone


def peak_bytes(work: Callable[[], object]) -> int:
    """By how much the memory of this process grows at most while it works."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


def memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
