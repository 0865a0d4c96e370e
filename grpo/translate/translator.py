"""Lines of text -> lines of the output, some batches at a time."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from data.examples import Example
from grpo.translate.choice import Term, choose
from grpo.translate.decoding import Candidates, Decoding, candidates
from grpo.translate.output import Output, Stream
from grpo.translate.policy import Policy
from grpo.translate.source import Source, SourceLine

BATCHES = 8  # that are finished together: a batch is kept full, except at their end


def tell(text: str) -> None:
    """A line for the user; standard output may be the translation."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Translator:
    """A policy with its model, and how its outputs are made and chosen."""

    policy: Policy
    model: PreTrainedModel
    decoding: Decoding
    term: Term | None
    max_prompt_tokens: int
    is_jsonl: bool

    def rows(self, lines: Sequence[SourceLine], output: Output | Stream, bar: Any) -> list[bytes]:
        """The output line of each line."""
        examples = [self.policy.example(line.text) for line in lines]
        problems = [
            line.problem or self.policy.problem(example, self.max_prompt_tokens)
            for line, example in zip(lines, examples, strict=True)
        ]
        places = [place for place, problem in enumerate(problems) if not problem]
        found = self.decode([examples[place] for place in places], [lines[place] for place in places], bar)
        chosen = self.chosen([examples[place].source for place in places], found)
        rows = []
        answers = iter(zip(found, chosen, strict=True))
        for line, problem in zip(lines, problems, strict=True):
            if problem:
                output.counts.add_problem(problem, line.number)
                rows.append(self.row(line, "", {"problem": problem}))
                bar.update()
                continue
            own, (place, score) = next(answers)
            output.counts.without_text += not own.texts[place]
            output.counts.cut += own.is_cut[place]
            rows.append(self.row(line, own.texts[place], {} if score is None else {"score": score}))
        return rows

    def decode(self, examples: Sequence[Example], lines: Sequence[SourceLine], bar: Any) -> list[Candidates]:
        """The candidates of each example."""
        prompts = [self.policy.prompt.encode_prompt(example) for example in examples]
        numbers = [line.number for line in lines]
        found: dict[int, Candidates] = {}
        for place, own in candidates(self.model, self.policy.prompt, prompts, numbers, self.decoding):
            found[place] = own
            bar.update()
        return [found[place] for place in range(len(prompts))]

    def chosen(self, sources: Sequence[str], found: Sequence[Candidates]) -> list[tuple[int, float | None]]:
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


@contextmanager
def progress(count: int, done: int) -> Iterator[Any]:
    """A bar in a terminal, which otherwise stays silent."""
    is_hidden = not sys.stderr.isatty()
    with tqdm(total=count, initial=done, desc="translating", unit=" lines", disable=is_hidden) as bar:
        yield bar


def translate(source: Source, translator: Translator, output: Output | Stream) -> None:
    """Finish all lines of the source that the output lacks, some batches at a time, always the same ones."""
    chunk = BATCHES * translator.decoding.settings.batch_size
    first = output.lines
    began = time.monotonic()
    with progress(len(source), first) as bar:
        while output.lines < len(source):
            start = output.lines
            end = min(len(source), (start // chunk + 1) * chunk)
            lines = [source.line(number) for number in range(start + 1, end + 1)]
            output.add(translator.rows(lines, output, bar))
            if bar.disable:
                rate = (end - first) / (time.monotonic() - began)
                tell(f"translated {end:,} of {len(source):,} lines, {rate:.1f} a second")
