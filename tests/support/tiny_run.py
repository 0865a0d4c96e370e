"""The whole command on the tiny model and a made-up corpus: its arguments, and runs of it as processes that
can be killed.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

Command = Callable[..., list[str]]  # the name of a run, settings -> arguments
Write = Callable[..., Path]  # a text, such as a configuration, and a name where that matters -> its file
HAN = "天地人山水火木金土日月星风雨云石"
SYLLABLES = ["ཀ", "ཁ", "ག", "ང", "ཅ", "ཆ", "ཇ", "ཉ", "ཏ", "ཐ", "ད", "ན", "པ", "ཕ", "བ", "མ"]
# a process that has imported everything and done nothing forks in milliseconds
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["grpo.stages.train", "grpo.stages.evaluate", "grpo.run"])
CONFIG = """
run_dir = "{run}"
device = "cpu"
[data]
corpus = "{corpus}"
test_size = 12
test_min_per_language = 0
dev_size = 4
[model]
policy = "{model}"
max_prompt_tokens = 128
[sft]
num_steps = 3
batch_size = 4
[rollout]
num_prompts = 2
group_size = 3
max_new_tokens = 8
[train]
num_steps = 4
[checkpoint]
every = 2
[eval]
probes = false
max_new_tokens = 8
bootstrap_samples = 50
"""


def write_corpus(path: Path) -> Path:
    """160 made-up pairs: each Han character stands for one syllable."""
    numbers = torch.randint(0, 16, (160, 4), generator=torch.Generator().manual_seed(0)).tolist()
    rows = ["་".join(SYLLABLES[n] for n in row) + "\t" + "".join(HAN[n] for n in row) for row in numbers]
    path.write_text("source\treference\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def arguments(corpus: Path, model: Path, run: Path, *more: str) -> list[str]:
    """What to give `grpo.run.main`; the configuration is written beside the run folder."""
    run.parent.mkdir(parents=True, exist_ok=True)
    config = run.parent / "tiny.toml"
    config.write_text(CONFIG.format(run=run, corpus=corpus, model=model), encoding="utf-8")
    return ["--config", str(config), *more]


def use_both_directions(config: Path) -> None:
    """Make a written configuration one of two corpora: the made-up one and its reverse."""
    text = config.read_text(encoding="utf-8")
    (corpus,) = (line for line in text.splitlines() if line.startswith("corpus = "))
    train = corpus.replace("corpus", "train", 1)
    tables = f"[data.corpora.there]\n{train}\n[data.corpora.back]\n{train}\nreverse = true\n"
    config.write_text(text.replace(corpus, "temperature = 2.0") + tables, encoding="utf-8")


def quick(model: Path) -> list[str]:
    """Settings that make a run of data, sft and train last a second and let the policy learn from each step of
    it.
    """
    return ["--stages", "data,sft,train", "threads=1", "train.optim.lr=1e-3", *quick_reward(model)]


def quick_reward(model: Path) -> list[str]:
    """The cosine by the model's own embedding, without guards and whatever its value."""
    return [f"reward.encoder=static:{model}", "reward.gates=[]", "reward.threshold=-1.0", "reward.shown=[]"]


def general_text(folder: Path, lines: Sequence[str]) -> str:
    """A file of lines in a folder, as the setting that names it."""
    path = folder / "own.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"tax.text={path}"


def nothing() -> None:
    """No fault."""


def start(argv: list[str], fault: Callable[[], object] = nothing) -> tuple[BaseProcess, Connection]:
    """A started process that runs the command with this cache, after calling `fault`; what it prints can be
    read from the connection.
    """
    reader, writer = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=_command, args=(argv, os.environ["SEMANTIC_GRPO_CACHE"], writer, fault)
    )
    process.start()
    writer.close()
    return process, reader


def wait_for_exit(process: BaseProcess, reader: Connection) -> tuple[int | None, str]:
    """Exit code, or minus the signal that killed it, and all that a started process printed."""
    with reader, open(reader.fileno(), "rb", closefd=False) as printed:
        output = printed.read().decode(errors="replace")
    process.join()
    return process.exitcode, output


def _command(argv: list[str], cache: str, writer: Connection, fault: Callable[[], object]) -> None:
    os.environ["SEMANTIC_GRPO_CACHE"] = cache
    os.dup2(writer.fileno(), 1)
    os.dup2(writer.fileno(), 2)
    from grpo.run import main

    fault()
    sys.exit(main(argv))


# with the clock, and with what this process has embedded before
VARYING = ("seconds", "tokens_per_second", "embedding_hit_share")


def metrics(run: Path, stage: str | None = None, *, everything: bool = False) -> list[dict[str, Any]]:
    """The log of a run, or its rows of a stage, without what is no function of (seed, step) unless everything is
    asked for.
    """
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {key: value for key, value in row.items() if everything or key not in VARYING}
        for row in rows
        if stage in (None, row["stage"])
    ]


def weights(run: Path) -> bytes:
    """The finished policy, bit for bit."""
    return (run / "policy" / "model.safetensors").read_bytes()


def assert_same_run(run: Path, other: Path) -> None:
    """Two runs ended with the same policy and have the same log."""
    assert weights(run) == weights(other)
    assert metrics(run) == metrics(other)
