"""`make bench-peers`: our GRPO step, warm start and decoding beside TRL, transformers' Trainer and
`model.generate`.

For each comparison two processes load the same model and texts, then take turns, so that the noise of the
machine hits both; the first turn of each does not count. Ratios of medians, with the lowest and highest of
single turns. A benchmark, not a test: it asserts only that both sides read the same tokens.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.peer_table import Result, lines_of
from benchmarks.peer_turns import GO, STOP, Request
from benchmarks.run import count
from data.cache import cache_dir
from data.errors import InputError, one_line
from data.examples import Example
from data.prepare import Corpus, prepare
from data.prompt import Prompt
from grpo.config_file import load_config
from grpo.engine.model import load_tokenizer
from grpo.engine.pretrained import gemma_folder
from grpo.runtime import device
from grpo.stages.machine import matmul_rate

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
SHORT_PROMPT = (24, 38)  # tokens of the shape "mt"
LONG_PROMPT = (280, 330)  # of "headline"


@dataclass(frozen=True)
class Comparison:
    """`peer` runs benchmarks/`module`; a step has `prompts` x `group` completions of `new` tokens (GRPO only)."""

    task: str
    peer: str
    module: str
    config: str
    prompts: int = 8
    group: int = 8
    new: int = 32


COMPARISONS = {
    "mt": Comparison("grpo", "TRL", "peer_trl", "configs/mt.toml"),
    "headline": Comparison("grpo", "TRL", "peer_trl", "configs/headline.toml", new=24),
    "warm-start": Comparison("warm_start", "Trainer", "peer_transformers", "configs/mt.toml"),
    "decoding": Comparison("decoding", "generate", "peer_transformers", "configs/mt.toml"),
}


class Side:
    """A process that takes turns (benchmarks/peer_turns.py); what it prints is shown only where it fails."""

    def __init__(self, command: Sequence[str]):
        self.command = command
        self._printed = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer. Raises RuntimeError, with what the process printed last, where
        there is none.
        """
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            self._printed.seek(0)
            raise RuntimeError(
                f"{' '.join(self.command)} ended with exit code {code}:\n{self._printed.read()[-2000:]}"
            )
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._printed):
            file.close()  # type: ignore[union-attr]


def take_turns(
    commands: Mapping[str, Sequence[str]], request: str, turns: int
) -> dict[str, list[dict[str, Any]]]:
    """Both sides, one after the other `turns` times -> all that each answered: what it read, its turns, its
    peak of memory.

    Raises RuntimeError where they have not read the same. They load at the same time and work one at a time.
    """
    ours, theirs = commands
    with Side(commands[ours]) as first, Side(commands[theirs]) as second:
        sides = {ours: first, theirs: second}
        for side in sides.values():
            side.tell(request)
        answers = {name: [side.hear()] for name, side in sides.items()}
        if answers[ours] != answers[theirs]:
            raise RuntimeError(f"{ours} and {theirs} read different tokens; a comparison would mean nothing")
        for line in [*[GO] * turns, STOP]:
            for name, side in sides.items():
                answers[name].append(side.ask(line))
    return answers


def compare(name: str, chosen: Comparison, request: Request, read: str) -> Result:
    commands = {
        "ours": [sys.executable, "-m", "benchmarks.peer_ours"],
        chosen.peer: [str(PEERS), "-m", f"benchmarks.{chosen.module}"],
    }
    ours, theirs = take_turns(commands, json.dumps(dataclasses.asdict(request)), request.turns).values()
    first = 2  # an answer to the request, and the warm-up; the peak
    last = -1
    return Result(
        name,
        chosen.peer,
        read,
        ours[first:last],
        theirs[first:last],
        ours[last]["peak_bytes"],
        theirs[last]["peak_bytes"],
    )


def join_examples(
    examples: Sequence[Example], tokens: Callable[[Example], int], limits: tuple[int, int]
) -> list[Example]:
    """Examples made of the sources of several in a row, with `limits` tokens (from, to); one that grows
    beyond starts anew.
    """
    made: list[Example] = []
    parts: list[str] = []
    for example in examples:
        whole = replace(example, source=" ".join([*parts, example.source]))
        size = tokens(whole)
        if size < limits[0]:
            parts.append(example.source)
            continue
        if size <= limits[1]:
            made.append(whole)
        parts = []
    return made


def examples_of(name: str, corpus: Corpus, tokens: Callable[[Example], int], count: int) -> list[Example]:
    """The texts of a comparison, `count` of them, those of the corpus again where it has too few."""
    kinds: dict[str, Callable[[], Sequence[Example]]] = {
        "mt": lambda: [e for e in corpus.train if SHORT_PROMPT[0] <= tokens(e) <= SHORT_PROMPT[1]],
        "headline": lambda: join_examples(corpus.train, tokens, LONG_PROMPT),
        "warm-start": lambda: corpus.warm_start,
        "decoding": lambda: [*corpus.dev, *corpus.test],
    }
    examples = kinds[name]()
    return [examples[i % len(examples)] for i in range(count)]


def request_for(
    name: str, chosen: Comparison, options: argparse.Namespace, model: Path
) -> tuple[Request, str]:
    """What both sides are asked for, and in words what they read."""
    prompts = options.prompts or chosen.prompts
    group = options.group or chosen.group
    new = options.new or chosen.new
    turns = options.steps + 1
    overrides = ["reward.encoder=use", "reward.threshold=0.1", "rollout.temperature=1.0"]
    for section in ("sft", "train"):
        steps = f"{section}.num_steps={turns + 1}"
        overrides += [steps, f"{section}.optim.schedule=constant", f"{section}.optim.warmup_steps=0"]
    overrides += [f"rollout.num_prompts={prompts}", f"rollout.group_size={group}"]
    overrides += [f"rollout.max_new_tokens={new}"]
    overrides += [f"eval.max_new_tokens={options.new}"] if options.new else []
    config = load_config(ROOT / chosen.config, overrides)
    prompt = Prompt.of(load_tokenizer(model))

    def tokens(example: Example) -> int:
        return len(prompt.encode_prompt(example))

    each = {"grpo": prompts, "warm_start": config.sft.batch_size}
    needed = options.items if chosen.task == "decoding" else (turns + 1) * each[chosen.task]
    examples = examples_of(name, prepare(config.data, cache_dir(), say=lambda _: None), tokens, needed)
    sizes = [tokens(example) for example in examples]
    words = {
        "grpo": f"{prompts} prompts x {group} completions x {new} tokens",
        "warm_start": f"{config.sft.batch_size} pairs a step",
        "decoding": f"{needed} prompts, up to {config.eval.max_new_tokens} tokens each, {config.eval.batch_size} at a time",
    }
    read = f"{words[chosen.task]}; prompts of {statistics.mean(sizes):.0f} tokens, the longest {max(sizes)}"
    request = Request(
        chosen.task,
        chosen.config,
        tuple(overrides),
        str(model),
        tuple(examples),
        turns,
        not options.natural_ends,
        options.peer_rows,
    )
    return request, read


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(COMPARISONS)} (default: all)"
    )
    parser.add_argument(
        "--steps", type=count, default=5, help="turns that count, after one that does not (default 5)"
    )
    for name in ("prompts", "group", "new"):
        parser.add_argument(f"--{name}", type=count, help="instead of the shape's own number")
    parser.add_argument(
        "--items", type=count, default=128, help="prompts of the comparison decoding (default 128)"
    )
    parser.add_argument(
        "--peer-rows", type=count, default=8, help="completions in one forward pass of TRL (default 8)"
    )
    parser.add_argument(
        "--natural-ends", action="store_true", help="GRPO: completions may end before the limit"
    )
    parser.add_argument("--model", type=Path, help="a model folder (default: the untouched default model)")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    try:
        run(options)
    except (InputError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    names = options.names or list(COMPARISONS)
    wrong_names = [name for name in names if name not in COMPARISONS]
    if wrong_names:
        raise InputError(
            f"unknown comparison {wrong_names[0]!r}; known comparisons: {', '.join(COMPARISONS)}"
        )
    if not PEERS.exists():
        raise InputError(f"{PEERS.relative_to(ROOT)} is not there; make bench-peers makes it")
    compute = device.choose("cpu")
    facts = device.describe(compute) | {"matmul_flops_per_second": matmul_rate(compute)}
    print(json.dumps(facts), flush=True)
    model = options.model or gemma_folder(cache_dir(), "trimmed", say=print)
    results = []
    for name in names:
        request, read = request_for(name, COMPARISONS[name], options, model)
        results.append(compare(name, COMPARISONS[name], request, read))
        print("\n".join(lines_of(results[-1])), flush=True)
    if options.json:
        given = {name: str(value) for name, value in vars(options).items()}
        written = {
            "machine": facts,
            "options": given,
            "results": [dataclasses.asdict(result) for result in results],
        }
        options.json.write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
