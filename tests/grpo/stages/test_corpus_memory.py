"""No stage holds the texts or token ids of a whole part: what a pair more takes in memory is a few numbers."""

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from data import records
from data.examples import Example, line_of
from data.prompt import Prompt
from data.records import Mapped, Records, Selection, examples_where, sample_of
from data.shots import take_shots
from data.stream import PromptStream
from data.tokens import token_report
from eval import memory
from eval.memory import build_memory
from grpo.stages.lengths import COMPLETION, PROMPT, fit
from reward.control import OtherReferences

FEW, MANY = 100, 400
MOST_BYTES = 150  # of a pair more; one Example alone takes more than 1,000
Use = Callable[[Sequence[Example], Prompt], Any]


def write_part(path: Path, count: int) -> Path:
    """Pairs of 100 characters a side, all different."""
    with path.open("wb") as file:
        for number in range(count):
            source, reference = (f"{side} {number:06} " * 11 for side in "ab")
            file.write(line_of(Example(f"n/{number}", source, reference, "user", "own", "sw", "en")))
    return path


def warm_start_pairs(part: Sequence[Example], prompt: Prompt) -> Any:
    """The pairs of SFT over an epoch and into the next."""
    examples = fit("warm_start", part, prompt, {PROMPT: 500, COMPLETION: 500}).check().examples
    stream = PromptStream(Mapped(examples, prompt.encode_pair), 4, 0)
    assert all(len(stream.at(step)) == 4 for step in range(len(part) // 4 + 2))
    return stream


def training_prompts(part: Sequence[Example], prompt: Prompt) -> Any:
    """The prompts of GRPO behind two shots, with the shuffled control."""
    shots, others = take_shots(part, 2, 0)
    examples = fit("train", others, prompt.with_shots(shots), {PROMPT: 2000}).check().examples
    other = OtherReferences(Mapped(examples, lambda one: one.references), 0)
    assert other[examples[0].references] != examples[0].references
    return PromptStream(examples, 4, 0), other


def report(part: Sequence[Example], prompt: Prompt) -> Any:
    return token_report(prompt, part, 500, 500)


def answers(part: Sequence[Example], prompt: Prompt) -> Any:
    """The translation memory, asked once."""
    index = build_memory(examples_where(part, lambda one: one.target_language == "en"))
    assert index.translate([part[7].source]) == [part[7].reference]
    return index


def peak_bytes(use: Use, part: Sequence[Example], prompt: Prompt) -> int:
    """The most that Python and NumPy hold at once while a part is used."""
    tracemalloc.start()
    try:
        kept = use(part, prompt)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept is not None
    return peak


@pytest.mark.parametrize("use", [warm_start_pairs, training_prompts, report, answers])
def test_a_pair_more_takes_a_few_numbers(
    use: Use, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BLOCK", 32)
    prompt = Prompt.of(tiny_tokenizer)
    parts = [Records(write_part(tmp_path / f"{count}.jsonl", count)) for count in (FEW, MANY)]
    use(parts[0], prompt)  # what is made once
    few, many = (peak_bytes(use, part, prompt) for part in parts)
    assert many - few < MOST_BYTES * (MANY - FEW)


def test_the_limit_tells_a_view_from_a_list(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """A list of the examples, or of their token ids, is far above it."""
    prompt = Prompt.of(tiny_tokenizer)
    part = Records(write_part(tmp_path / "part.jsonl", FEW))
    lists: list[Use] = [
        lambda part, prompt: [*part],
        lambda part, prompt: [prompt.encode_pair(one) for one in part],
    ]
    assert all(peak_bytes(use, part, prompt) > 5 * MOST_BYTES * FEW for use in lists)


def test_a_sample_is_the_whole_up_to_its_size_and_spread_evenly_beyond(tmp_path: Path) -> None:
    part = Records(write_part(tmp_path / "part.jsonl", 10))
    assert sample_of(part) is part and records.SAMPLE >= 100_000
    assert sample_of(part, 10) is part
    assert [one.id for one in sample_of(part, 4)] == ["n/0", "n/2", "n/5", "n/7"]
    assert sample_of(part, 4) == Selection(part, sample_of(part, 4).places)  # type: ignore[attr-defined]
