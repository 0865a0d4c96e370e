"""Our side of the comparisons: the training loops and the decoding of a run, unchanged, a turn at a time."""

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.peer_turns import Connection, InOrder, semantic_reward
from data.prompt import Prompt
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
    prompt = Prompt.of(load_tokenizer(request.model))
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

        connection.ready([prompt.encode_prompt(example) for example in request.examples])
        connection.wait_for_turn()
        training = Training(policy, optimizer, log, compute, after_update=report_turn)
        sampling = sampling_of(config, prompt)
        if request.exact:  # no completion ends before the last token
            sampling = replace(sampling, stop_ids=())
        task = Task(prompts, prompt, reward, reference, sampling)
        train_grpo(config, training, task, LoopState())


def warm_start(connection: Connection, compute: device.Compute, folder: Path) -> None:
    request = connection.request
    config = request.settings().sft
    prompt = Prompt.of(load_tokenizer(request.model))
    policy = load_policy(request.model, compute.device)
    pairs = [(prompt.encode_prompt(e), prompt.encode_completion(e.reference)) for e in request.examples]
    optimizer = Optimizer(policy, config.optim, config.num_steps)

    with RunLog(folder, "sft", 0, config.num_steps, {}, quiet=True) as log:

        def report_turn(state: LoopState) -> bool:
            connection.report(tokens=log.rows[-1]["tokens"], loss=log.rows[-1]["loss"])
            connection.wait_for_turn()
            return False

        connection.ready(pairs)
        connection.wait_for_turn()
        training = Training(policy, optimizer, log, compute, after_update=report_turn)
        train_sft(config, training, InOrder(pairs, config.batch_size), LoopState())


def decode(connection: Connection, compute: device.Compute, folder: Path) -> None:
    request = connection.request
    config = request.settings().eval
    prompt = Prompt.of(load_tokenizer(request.model))
    policy = load_policy(request.model, compute.device)
    settings = DecodeSettings(config.max_new_tokens, prompt.stops, config.batch_size)
    connection.ready([prompt.encode_prompt(example) for example in request.examples])
    while True:
        connection.wait_for_turn()
        outputs = greedy_outputs(policy, prompt, request.examples, settings)
        connection.report(outputs=outputs)


def main() -> None:
    connection = Connection()
    compute = device.choose("cpu")
    device.configure(compute)
    with tempfile.TemporaryDirectory() as folder:
        {"grpo": grpo, "warm_start": warm_start, "decoding": decode}[connection.request.task](
            connection, compute, Path(folder)
        )


if __name__ == "__main__":
    main()
