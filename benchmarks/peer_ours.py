"""Our side of the comparisons: the training loops and the decoding of a run, unchanged, a turn at a time."""

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.peer_turns import Connection, InOrder, semantic_reward
from data.template import encode_completion, encode_prompt, stop_ids
from grpo.engine.greedy import DecodeSettings, greedy_outputs
from grpo.engine.model import frozen_copy, load_policy, load_tokenizer
from grpo.loop import train_grpo
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import device
from grpo.runtime.run_log import RunLog
from grpo.samples import sampling_of
from grpo.sft import train_sft
from grpo.training import Task, Training


def grpo(connection: Connection, compute: device.Compute, folder: Path) -> None:
    request = connection.request
    config = request.settings()
    tokenizer = load_tokenizer(request.model)
    policy = load_policy(request.model, compute.device)
    reference = frozen_copy(policy)
    reward = semantic_reward(config, request.examples)
    optimizer = Optimizer(policy, config.train.optim, config.train.num_steps)
    prompts = InOrder(request.examples, config.rollout.num_prompts)

    with RunLog(folder, "train", 0, config.train.num_steps, {}, quiet=True) as log:

        def report_turn(state: LoopState) -> bool:
            row = log.rows[-1]
            connection.report(phases=row["seconds"], length=row["length_mean"], reward=row["reward_mean"])
            connection.wait_for_turn()
            return False

        connection.ready([encode_prompt(tokenizer, example) for example in request.examples])
        connection.wait_for_turn()
        training = Training(policy, optimizer, log, compute)
        sampling = sampling_of(config, tokenizer)
        if request.exact:  # no completion ends before the last token
            sampling = replace(sampling, stop_ids=())
        task = Task(prompts, tokenizer, reward, reference, sampling)
        train_grpo(config, training, task, LoopState(), after_update=report_turn)


def warm_start(connection: Connection, compute: device.Compute, folder: Path) -> None:
    request = connection.request
    config = request.settings().sft
    tokenizer = load_tokenizer(request.model)
    policy = load_policy(request.model, compute.device)
    pairs = [
        (encode_prompt(tokenizer, e), encode_completion(tokenizer, e.reference)) for e in request.examples
    ]
    optimizer = Optimizer(policy, config.optim, config.num_steps)

    with RunLog(folder, "sft", 0, config.num_steps, {}, quiet=True) as log:

        def report_turn(state: LoopState) -> bool:
            connection.report(tokens=log.rows[-1]["tokens"], loss=log.rows[-1]["loss"])
            connection.wait_for_turn()
            return False

        connection.ready(pairs)
        connection.wait_for_turn()
        training = Training(policy, optimizer, log, compute)
        train_sft(
            training,
            InOrder(pairs, config.batch_size),
            LoopState(),
            num_steps=config.num_steps,
            max_tokens_per_pass=config.max_tokens_per_pass,
            after_update=report_turn,
        )


def decoding(connection: Connection, compute: device.Compute, folder: Path) -> None:
    request = connection.request
    config = request.settings().eval
    tokenizer = load_tokenizer(request.model)
    policy = load_policy(request.model, compute.device)
    settings = DecodeSettings(config.max_new_tokens, stop_ids(tokenizer), config.batch_size)
    connection.ready([encode_prompt(tokenizer, example) for example in request.examples])
    while True:
        connection.wait_for_turn()
        outputs = greedy_outputs(policy, tokenizer, request.examples, settings)
        connection.report(outputs=outputs)


def main() -> None:
    connection = Connection()
    compute = device.choose("cpu")
    device.configure(compute)
    with tempfile.TemporaryDirectory() as folder:
        {"grpo": grpo, "warm_start": warm_start, "decoding": decoding}[connection.request.task](
            connection, compute, Path(folder)
        )


if __name__ == "__main__":
    main()
