"""The evaluation by several processes gives what one gives."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from tiny import tiny_gemma
from tiny_run import arguments, quick_reward, write_corpus
from tiny_study import PANEL
from tiny_team import start_team
from transformers import PreTrainedTokenizerFast

from data.documents import read_object
from data.examples import Example
from eval.forgetting.probes import run_probes
from grpo.config import Config
from grpo.run import main
from grpo.runtime.device import choose
from grpo.runtime.interrupt import StopRequest
from grpo.stages.context import Run
from grpo.stages.evaluate import memory_outputs

T = TypeVar("T")
SYSTEMS = ("translation_memory", "untouched", "warm_start", "trained", "comparison")


class OneOf:
    """One process of several, whose work the test puts together."""

    def __init__(self, rank: int, size: int, found: list[dict[int, Any]]) -> None:
        self.rank = rank
        self.size = size
        self.found = found
        self.number = 0  # of merges

    def part(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.rank :: self.size]

    def merge(self, found: Mapping[int, T]) -> dict[int, T]:
        if self.number == len(self.found):
            self.found.append({})
        whole = self.found[self.number]
        assert not whole.keys() & found.keys()
        whole.update(found)
        self.number += 1
        missing: Any = [0.0] * 4
        return {i: whole.get(i, missing) for i in range(20)}


@pytest.mark.parametrize("size", [2, 3])
def test_shared_probes_have_the_bits_of_one_process(
    size: int, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of few tokens, so that there are several of them to share."""
    monkeypatch.setattr("grpo.engine.likelihood.BATCH_TOKENS", 24)
    model = tiny_gemma()
    alone = run_probes(model, tiny_tokenizer, PANEL)
    found: list[dict[int, Any]] = []
    results = [run_probes(model, tiny_tokenizer, PANEL, OneOf(rank, size, found)) for rank in range(size)]
    for name in ("english", "chinese", "capitals"):
        assert results[-1][name] == alone[name]


def test_the_translation_memory_needs_no_cache_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: with a cache that others keep, which cannot be written, the evaluation ended after all training."""
    texts = (("a b c", "甲"), ("d e f", "乙"))
    pairs = [Example(source, source, text, "o", "l", "sw", "zh") for source, text in texts]
    corpus = SimpleNamespace(warm_start=pairs[:1], train=pairs[1:])
    monkeypatch.setattr("grpo.stages.evaluate.corpus_of", lambda run: corpus)
    run = Run(Config(), tmp_path, tmp_path / "absent", choose("cpu"), StopRequest(), print)
    assert memory_outputs(run, {"": pairs}) == {"": ["甲", "乙"]}


def test_two_processes_evaluate_as_one(tiny_folder: Path, tmp_path: Path, empty_cache: None) -> None:
    """Greedy outputs in batches of four, of which two processes have three to share."""
    settings = [*quick_reward(tiny_folder), "threads=1", "eval.batch_size=4", "sft.optim.lr=1e-2"]
    corpus = write_corpus(tmp_path / "pairs.tsv")
    run = tmp_path / "one" / "run"
    assert main(arguments(corpus, tiny_folder, run, "--stages", "data,sft,train,eval", *settings)) == 0
    other = tmp_path / "two" / "run"
    shutil.copytree(run, other)
    shutil.rmtree(other / "eval")
    for code, output in start_team(
        arguments(corpus, tiny_folder, other, "--stages", "eval", *settings), 2
    ).ends():
        assert code == 0, output
    results = [
        {name: read_object(folder / "eval" / f"{name}.json") for name in SYSTEMS} for folder in (run, other)
    ]
    assert results[0] == results[1]
    outputs = {item["output"] for item in results[0]["trained"]["items"]}
    assert len(outputs) > 1
