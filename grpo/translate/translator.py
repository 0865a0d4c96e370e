"""Lines of text -> lines of the output, some batches at a time."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from data.errors import InputError
from data.examples import Example
from data.live_table import CountRow, live_table
from grpo.engine.graph_decoder import forget
from grpo.runtime.device import Compute
from grpo.runtime.within_memory import half_sizes, within_memory
from grpo.translate.choice import Term, choose
from grpo.translate.decoding import BATCHES, Candidates, Decoding, candidates
from grpo.translate.output import Output, Stream
from grpo.translate.policy import Policy
from grpo.translate.source import Source, SourceLine


def tell(text: str) -> None:
    """A line for the user; standard output may be the translation."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Translator:
    """A policy with its model, and how its outputs are made and chosen."""

    policy: Policy
    model: PreTrainedModel
    compute: Compute
    decoding: Decoding
    term: Term | None
    max_prompt_tokens: int
    is_jsonl: bool
    is_halved: bool = False

    def rows_within_memory(
        self, lines: Sequence[SourceLine], output: Output | Stream, count: CountRow
    ) -> tuple["Translator", list[bytes]]:
        """The output line of each line, and the translator of later ones: with batches of half the size where the card
        had no memory for these.
        """
        current = self
        start = count.done

        def halve(error: torch.OutOfMemoryError) -> None:
            nonlocal current
            current = current.with_half_batches(error)
            count.done = start

        rows = within_memory(lambda: current.rows(lines, output, count), halve, self.compute)
        return current, rows

    def with_half_batches(self, error: torch.OutOfMemoryError) -> "Translator":
        """With batches of half the size. Raises InputError where they are that already."""
        settings = self.decoding.settings
        size = half_sizes({"--batch-size": settings.batch_size})["--batch-size"]
        if self.is_halved:
            raise InputError(
                f"translate: the card has no memory for batches of {settings.batch_size} either; write --batch-size {size}"
            ) from error
        tell(
            f"WARNING translate: the card had no memory for --batch-size {settings.batch_size}, so it goes on with {size}"
        )
        decoding = replace(self.decoding, settings=replace(settings, batch_size=size))
        forget(self.model)
        return replace(self, decoding=decoding, is_halved=True)

    def rows(self, lines: Sequence[SourceLine], output: Output | Stream, count: CountRow) -> list[bytes]:
        """The output line of each line."""
        examples = [self.policy.example(line.text) for line in lines]
        problems = [
            line.problem or self.policy.problem(example, self.max_prompt_tokens)
            for line, example in zip(lines, examples, strict=True)
        ]
        places = [place for place, problem in enumerate(problems) if not problem]
        found = self.decode([examples[place] for place in places], [lines[place] for place in places], count)
        chosen = self.choose_best([examples[place].source for place in places], found)
        rows = []
        answers = iter(zip(found, chosen, strict=True))
        for line, problem in zip(lines, problems, strict=True):
            if problem:
                output.counts.problems.setdefault(problem, [0, line.number])[0] += 1
                rows.append(self.row(line, "", {"problem": problem}))
                count.add()
                continue
            own, (place, score) = next(answers)
            output.counts.without_text += not own.texts[place]
            output.counts.cut += own.is_cut[place]
            rows.append(self.row(line, own.texts[place], {} if score is None else {"score": score}))
        return rows

    def decode(
        self, examples: Sequence[Example], lines: Sequence[SourceLine], count: CountRow
    ) -> list[Candidates]:
        """The candidates of each example."""
        prompts = [self.policy.prompt.encode_prompt(example) for example in examples]
        numbers = [line.number for line in lines]
        found: dict[int, Candidates] = {}
        for place, own in candidates(self.model, self.policy.prompt, prompts, numbers, self.decoding):
            found[place] = own
            count.add()
        return [found[place] for place in range(len(prompts))]

    def choose_best(
        self, sources: Sequence[str], found: Sequence[Candidates]
    ) -> list[tuple[int, float | None]]:
        """The place and the score of the best candidate of each; the first where there is nothing to choose by."""
        if self.term is None or not found:
            return [(0, None) for _ in found]
        return [*choose(self.term, sources, found)]

    def row(self, line: SourceLine, text: str, more: dict[str, Any]) -> bytes:
        """A line of the output, without its end."""
        if not self.is_jsonl:
            return " ".join(text.splitlines()).encode()
        record = {"id": line.id, "source": line.text, "output": text, **more}
        return json.dumps(record, ensure_ascii=False).encode()


def translate(source: Source, translator: Translator, output: Output | Stream) -> None:
    """Finish all lines of the source that the output lacks, some batches at a time, always the same ones."""
    chunk = BATCHES * translator.decoding.settings.batch_size
    first = output.lines
    began = time.monotonic()
    has_room = not (isinstance(output, Stream) and sys.stdout.isatty())
    with live_table(is_shown=has_room) as table:
        count = CountRow(table, "translated", len(source), first)
        while output.lines < len(source):
            start = output.lines
            end = min(len(source), (start // chunk + 1) * chunk)
            lines = [source.line(number) for number in range(start + 1, end + 1)]
            translator, rows = translator.rows_within_memory(lines, output, count)
            output.add(rows)
            if table is None:
                rate = (end - first) / (time.monotonic() - began)
                tell(f"translated {end:,} of {len(source):,} lines, {rate:.1f} a second")
