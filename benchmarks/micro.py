"""Pieces of a step that run the model: its matrix products, prefill, a decode step, log-probabilities,
optimiser, warm start.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import counts
from benchmarks.counts import TRAINING, Lengths, forward_flops, shape_of, uniform, weight_bytes
from benchmarks.step import Stepper, StepSize
from benchmarks.subject import Subject, pairs, prompts
from benchmarks.timing import Row, Work, difference
from grpo.config import SFTConfig
from grpo.engine.chunked_head import CHUNK
from grpo.engine.logprob import completion_logps
from grpo.engine.sampler import Sampling, generate
from grpo.minibatch import micro_batches
from grpo.records import LoopState, Rollout
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.training import Training

DECODED = 8  # steps between the two rollouts whose difference gives one
GROUPS = (1, 2, 4, 8)  # completions a prompt of the decode steps
SFT_PAIRS = 16  # configs/mt.toml
SFT_PROMPT = 24
SFT_COMPLETION = 16

Timed = Callable[[Work], Row]


def products(subject: Subject, size: StepSize) -> Iterator[Work]:
    """The model's matrix products and nothing else, layer after layer: what its shapes leave of the rate of a
    square product.
    """
    shape = shape_of(subject.policy)
    head = subject.policy.get_output_embeddings().weight
    linears = [
        m.weight for m in subject.policy.modules() if isinstance(m, nn.Linear) and m.weight is not head
    ]
    numbers = sum(weight.numel() for weight in linears)

    def multiply(weights: Sequence[Tensor], rows: int) -> Callable[[], None]:
        inputs = {
            width: torch.randn(rows, width, device=head.device)
            for width in {weight.shape[1] for weight in weights}
        }

        @torch.no_grad()
        def call() -> None:
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)

        return call

    for rows in sorted({*(size.prompts * group for group in GROUPS), size.max_tokens}):
        yield Work(f"body products, {rows} rows", multiply(linears, rows), 2 * numbers * rows, 4 * numbers)
    for rows in sorted({size.prompts * GROUPS[-1], CHUNK}):
        yield Work(
            f"head product, {rows} rows", multiply([head], rows), 2 * shape.head * rows, 4 * shape.head
        )


def decode_rows(subject: Subject, size: StepSize, timed: Timed) -> list[Row]:
    """A rollout of one token is the prefill; one of DECODED more, less the first, is so many decode steps."""
    shape = shape_of(subject.policy)
    batch = prompts(subject, size.prompts, size.prompt)
    lengths = [len(prompt) for prompt in batch]
    rows = []

    def rollout(group: int, new: int) -> Work:
        sampling = Sampling(group, new, temperature=1.0, stop_ids=())
        flops = counts.prefill_flops(shape, uniform(size.prompts, size.prompt, group, new))
        name = f"prefill, {size.prompts} x {size.prompt} tokens"
        return Work(
            name, lambda: generate(subject.policy, batch, sampling, seed=(0,)), flops, weight_bytes(shape)
        )

    for group in GROUPS:
        prefill = timed(rollout(group, 1))
        more = timed(rollout(group, 1 + DECODED))
        work = [
            count(shape, lengths, group, DECODED // 2) for count in (counts.decode_flops, counts.decode_bytes)
        ]
        rows.append(difference(f"decode step, {size.prompts * group} rows", more, prefill, DECODED, *work))
    return [prefill, *rows]


def random_rollout(subject: Subject, size: StepSize) -> Rollout:
    """A rollout of this size with random completions, not decoded: for what comes after the sampler."""
    generator = torch.Generator().manual_seed(1)
    rows = size.prompts * size.group
    device = subject.compute.device
    ids = torch.randint(4, subject.vocabulary, (rows, size.new), generator=generator).to(device)
    facts = torch.full((rows,), size.new, device=device), torch.zeros(rows, dtype=torch.bool, device=device)
    batch = tuple(map(tuple, prompts(subject, size.prompts, size.prompt)))
    return Rollout(batch, ids, *facts, torch.zeros(rows, size.new, device=device), size.group)


def passes(subject: Subject, size: StepSize) -> Iterator[Work]:
    """Packing of a whole rollout; one packed pass of it without and with the way back. Gradients add up and
    are dropped at the end.
    """
    shape = shape_of(subject.policy)
    rollout = random_rollout(subject, size)
    everything = torch.arange(size.prompts, device=subject.compute.device)

    def pack_all() -> list:
        return list(micro_batches(rollout, everything, size.max_tokens))

    rows, pack = pack_all()[0]
    groups = len(rows) // size.group
    flops = forward_flops(shape, Lengths((size.prompt,) * groups, ((size.new,) * size.group,) * groups))
    tokens = pack.input_ids.shape[1]

    @torch.no_grad()
    def forward() -> None:
        completion_logps(subject.policy, pack)

    yield Work(
        "packing",
        pack_all,
        0,
        8 * (4 * size.lengths.unique + 3 * size.prompts * size.group * size.new),
        "copy",
    )
    yield Work(f"log-probs forward, {tokens} tokens", forward, flops, weight_bytes(shape))
    name = f"log-probs forward, backward, {tokens} tokens"
    yield Work(
        name,
        lambda: completion_logps(subject.policy, pack).logps.sum().backward(),
        TRAINING * flops,
        3 * weight_bytes(shape),
    )
    subject.policy.zero_grad(set_to_none=True)


def optimiser(stepper: Stepper) -> Work:
    """Clipping and AdamW on gradients that are there already."""
    model = stepper.subject.policy
    shape = shape_of(stepper.subject.policy)
    gradients = [torch.full_like(parameter, 1e-3) for parameter in model.parameters()]

    def call() -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        stepper.optimizer.step()

    return Work("optimiser", call, 0, counts.optimiser_bytes(shape), "copy")


def warm_start(stepper: Stepper, size: StepSize, timed: Timed) -> Row:
    """One step of the real warm start, its optimiser included."""
    subject = stepper.subject
    shape = shape_of(stepper.subject.policy)
    batch = pairs(subject, SFT_PAIRS, SFT_PROMPT, SFT_COMPLETION)
    lengths = uniform(SFT_PAIRS, SFT_PROMPT, 1, SFT_COMPLETION)
    name = f"warm-start step, {lengths.unique} tokens"
    with tempfile.TemporaryDirectory() as folder, RunLog(Path(folder), "sft", 0, 1, {}, quiet=True) as log:

        def call() -> None:
            training = Training(subject.policy, stepper.optimizer, log, subject.compute)
            config = SFTConfig(num_steps=1, max_tokens_per_pass=size.max_tokens)
            train_sft(config, training, batch, LoopState())

        num_bytes = 3 * weight_bytes(shape) + counts.optimiser_bytes(shape)
        return timed(Work(name, call, TRAINING * forward_flops(shape, lengths), num_bytes))


def model_rows(stepper: Stepper, size: StepSize, timed: Timed) -> list[Row]:
    """Everything above."""
    subject = stepper.subject
    return [
        *map(timed, products(subject, size)),
        *decode_rows(subject, size, timed),
        *map(timed, passes(subject, size)),
        timed(optimiser(stepper)),
        warm_start(stepper, size, timed),
    ]
