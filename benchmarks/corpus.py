"""Measures a run on synthetic pairs: `python -m benchmarks.corpus --pairs 100000`.

Words are random letters with frequencies after Zipf's law; a text has 10 to 30 of them, and one pair in twenty
repeats an earlier one with a word changed on each side. A child process prepares the corpus; with `--run` further
ones do the other stages, on a tiny random model that reads bytes. Printed are lines of the tables in docs/corpus.md:
pairs, seconds, processor seconds, those of a million pairs, and the largest resident memory in MB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = 50_000
CHUNK = 10_000  # pairs
NEAR_DUPLICATES = 0.05
PREPARE = "prepare"
STAGES = ("data", "model", "sft", "train", "eval", "report")
RUN = """
run_dir = "{folder}/run"
device = "cpu"
data = {{ corpus = "{corpus}", source_language = "sw", target_language = "en", test_size = 60 }}
model = {{ policy = "{folder}/model" }}
sft = {{ num_steps = 4, batch_size = 4 }}
rollout = {{ num_prompts = 2, group_size = 2 }}
reward = {{ encoder = "static:{folder}/model" }}
train = {{ num_steps = 4 }}
eval = {{ probes = false, bootstrap_samples = 50 }}
"""


def vocabulary(seed: int) -> NDArray[np.str_]:
    """Random words of 2 to 9 letters, (WORDS,)."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(3, 3 + len(letters))
    sizes = random.integers(2, 10, WORDS)
    rows = random.choice(letters, size=(WORDS, 9), p=weights / weights.sum())
    return np.array(["".join(row[:size]) for row, size in zip(rows, sizes, strict=True)])


def pairs(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` pairs of texts, a function of (count, seed)."""
    sides = (vocabulary(seed), vocabulary(seed + 1))
    weights = 1 / np.arange(1, WORDS + 1)
    steps = np.cumsum(weights / weights.sum())
    for start in range(0, count, CHUNK):
        random = np.random.default_rng((seed, start))
        size = min(CHUNK, count - start)
        lengths = random.integers(10, 31, (2, size))
        words = np.minimum(np.searchsorted(steps, random.random((2, size, 30))), WORDS - 1)
        for item in np.flatnonzero(random.random(size) < NEAR_DUPLICATES):
            earlier = int(random.integers(0, item)) if item else 0
            lengths[:, item] = lengths[:, earlier]
            words[:, item] = words[:, earlier]
            words[:, item, random.integers(0, 10, 1)] = random.integers(0, WORDS, (2, 1))
        for item in range(size):
            source, reference = (
                " ".join(sides[side][words[side, item, : lengths[side, item]]]) for side in (0, 1)
            )
            yield source, reference


def write_corpus(path: Path, count: int, seed: int = 0) -> None:
    """Write the pairs as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        for source, reference in pairs(count, seed):
            file.write(json.dumps({"source": source, "reference": reference}) + "\n")


def prepare_corpus(path: Path, cache: Path) -> None:
    """The child: prepare the corpus, with the settings that RUN leaves as they come."""
    from data.config import DataConfig
    from data.prepare import prepare

    prepare(DataConfig(corpus=str(path), source_language="sw", target_language="en", test_size=60), cache)


def run_stage(corpus: Path, folder: Path, stage: str) -> None:
    """The child: a stage of a short run on the corpus."""
    from grpo.run import main as run_command

    model = folder / "model"
    if not model.exists():
        write_model(model)
    config = folder / "run.toml"
    config.write_text(RUN.format(folder=folder, corpus=corpus), encoding="utf-8")
    if code := run_command(["--config", str(config), "--stages", stage]):
        sys.exit(code)


def write_model(folder: Path) -> None:
    """A tiny random model, and a tokenizer whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<pad>", "<eos>", "<bos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(alphabet),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    LlamaForCausalLM(LlamaConfig(**sizes, **ids)).save_pretrained(folder)


def child(stage: str, corpus: Path, folder: Path) -> None:
    """Do the work of a child process, and print what it took as JSON in the last line."""
    start = time.perf_counter()
    if stage == PREPARE:
        prepare_corpus(corpus, folder / "cache")
    else:
        run_stage(corpus, folder, stage)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": usage.ru_maxrss * 1024}))


def measure(stage: str, corpus: Path, folder: Path) -> dict[str, float]:
    """Seconds and peak bytes of a stage, in a child process of its own."""
    command = [sys.executable, "-m", "benchmarks.corpus", "--child", stage, str(corpus), str(folder)]
    places = {"SEMANTIC_GRPO_CACHE": str(folder / "cache")}
    result = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **places}
    )
    print(result.stdout, file=sys.stderr)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    """Print lines of the tables in docs/corpus.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the corpus and its cache; else a temporary one")
    parser.add_argument("--run", action="store_true", help="the other stages of a run too")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        stage, corpus, folder = arguments.child
        child(stage, Path(corpus), Path(folder))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        corpus = Path(folder) / "pairs.jsonl"
        write_corpus(corpus, arguments.pairs)
        for stage in (PREPARE, *STAGES) if arguments.run else (PREPARE,):
            facts = measure(stage, corpus, Path(folder))
            print(json.dumps(facts) if arguments.json else row(stage, arguments.pairs, facts), flush=True)


def row(stage: str, pairs: int, facts: dict[str, float]) -> str:
    """A line of a table."""
    numbers = (facts["seconds"], facts["cpu"], facts["cpu"] / (pairs / 1e6), facts["peak"] / 1e6)
    return " | ".join([f"| {stage}", f"{pairs:,}", *(f"{number:.0f}" for number in numbers)]) + " |"


if __name__ == "__main__":
    main()
