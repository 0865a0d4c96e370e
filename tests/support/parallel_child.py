"""One of several processes of test_parallel.py, or all the work in one: `python parallel_child.py FOLDER`
under torchrun's variables.
"""

import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tiny import byte_tokenizer, tiny_gpt2
from tiny_session import TWO_PASSES, Session, variety
from torch import Tensor, nn

from grpo.advantage import group_advantages
from grpo.config import LossConfig, ParallelConfig
from grpo.engine.sampler import Sampling, generate
from grpo.loop import accumulate
from grpo.loss import OBJECTIVES
from grpo.minibatch import minibatches_of
from grpo.optim import Optimizer
from grpo.records import Experience
from grpo.runtime import device
from grpo.runtime.parallel import World, connect, leave, meet
from grpo.runtime.run_log import RunLog
from grpo.training import Training

PROMPTS = [[2, *range(40, 42 + i)] for i in range(4)]
STOPS = (1, *range(10, 60))


def gradients(world: World, folder: Path) -> dict[str, Tensor]:
    """fp64 gradients of one update of 4 ragged groups of 3, for each objective."""
    policy = tiny_gpt2().double()
    rollout = generate(tiny_gpt2(), PROMPTS, Sampling(3, 9, 1.0, STOPS), seed=(0,))
    noise = 0.2 * torch.randn(2, 12, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    logps = (rollout.sampling_logps.double() * 64).round() / 64  # the same on any number of threads
    old = logps + noise[0]
    ref = logps + noise[1]
    experience = Experience(rollout, rewards, {}, ref, old)
    result: dict[str, Tensor] = {}
    for objective in OBJECTIVES:
        loss = LossConfig(objective=objective)  # type: ignore[arg-type]
        config = replace(TWO_PASSES, loss=loss, rollout=replace(TWO_PASSES.rollout, max_gap=9.0))
        config = replace(config, train=replace(config.train, passes=1, prompts_per_update=0))
        for minibatch in minibatches_of(config, experience, group_advantages(rewards, 1e-3), 0):
            policy.zero_grad()
            with RunLog(folder / f"{objective}-{world.rank}", "train", 0, 1, {}, quiet=True) as log:
                optimizer = Optimizer(policy, config.train.optim, 1)
                accumulate(
                    config,
                    Training(policy, optimizer, log, device.choose("cpu"), world=world),
                    minibatch,
                    0.1,
                )
        for name, parameter in policy.named_parameters():
            assert parameter.grad is not None, name
            result[f"{objective}:{name}"] = parameter.grad.clone()
    return result


def trained_policy(world: World, folder: Path) -> dict[str, Tensor]:
    """Parameters after three steps of two passes and four updates each."""
    config = replace(TWO_PASSES, train=replace(TWO_PASSES.train, num_steps=3))
    session = Session(config, folder / f"rank-{world.rank}", byte_tokenizer(), reward=variety, world=world)
    session.run()
    return dict(session.policy.state_dict())


def random_parameters(rank: int) -> list[nn.Parameter]:
    """Parameters of sizes on both sides of a bucket of 4 KB and of two dtypes, with gradients; one has none."""
    generator = torch.Generator().manual_seed(rank)
    shapes = [((3, 5), torch.float32), ((2000,), torch.float32), ((7,), torch.float32), ((11, 40), torch.float32),
              ((13,), torch.float64), ((2,), torch.float64), ((600,), torch.float32), ((1,), torch.float32)]  # fmt: skip
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape, dtype in shapes]
    for parameter in parameters[:-1]:
        parameter.grad = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return parameters


def summed_gradients(world: World) -> dict[str, Tensor]:
    """Gradients of `random_parameters` summed in buckets, and one at a time."""
    result: dict[str, Tensor] = {}
    for way in ("buckets", "one by one"):
        parameters = random_parameters(world.rank)
        if way == "buckets":
            with mock.patch("grpo.runtime.parallel.BUCKET_BYTES", 4096):
                world.sum_gradients(parameters)
        else:
            for parameter in parameters[:-1]:
                dist.all_reduce(parameter.grad)
        assert parameters[-1].grad is None
        result |= {f"{way}:{n}": one.grad for n, one in enumerate(parameters) if one.grad is not None}
    return result


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    world = meet(ParallelConfig())
    connect(world, False, ParallelConfig())
    results = {
        "gradients": gradients(world, folder),
        "policy": trained_policy(world, folder),
        "sums": summed_gradients(world),
    }
    for name, tensors in results.items():
        save_file(
            {key: value.clone().contiguous() for key, value in tensors.items()},
            folder / f"{name}-{world.rank}.safetensors",
        )
    leave(world)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
