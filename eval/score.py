"""`python -m eval.score --metric NAME_OR_FOLDER ... --outputs FILE --references FILE ... --sources FILE`: scores any text
files, aligned by line.

A metric is chrf, bleu or ter by sacreBLEU, cosine:ENCODER by an encoder of `reward.encoder`, or the folder of a learned
one (`python -m reward.learned` makes it). Each line of the answer has the score of all lines together, their number, a
95 % interval (bootstrap over lines) and the signature of the metric; `--errors` adds the errors that xCOMET marks, and
`--segments FILE` writes everything line by line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from sacrebleu.metrics.ter import TER

from data.arguments import ArgumentParser
from data.cache import atomic_write_text, cache_dir
from data.documents import read_bytes, user_path
from data.errors import InputError, run_command
from data.script import primary
from eval.metrics.overlap import (
    bleu_of_sums,
    bleu_statistics,
    chrf_of_sums,
    chrf_statistics,
    signatures,
    streams,
)
from eval.metrics.significance import (
    CONFIDENCE,
    RESAMPLES,
    Array,
    Score,
    mean_statistics,
    ratio_of_sums,
    resample_counts,
)
from eval.metrics.similarity import cosines
from grpo.runtime import device
from reward.encoder import load_encoder
from reward.learned.scores import open_scorer
from reward.learned.unified import ErrorSpan

SURFACE = ("chrf", "bleu", "ter")  # metrics by sacreBLEU
COSINE = "cosine:"  # before an encoder's name
LEAST_RESAMPLES = 100


@dataclass(frozen=True)
class Files:
    """N lines of text; `references[i]` has no text where none was given, and `sources[i]` is "" then."""

    sources: list[str]
    outputs: list[str]
    references: list[list[str]]
    has_sources: bool

    @property
    def has_references(self) -> bool:
        return bool(self.references and self.references[0])


@dataclass(frozen=True)
class Result:
    """The score of a metric over n lines, with its 95 % interval; `better` is 1 where a higher score is better, else -1.
    `errors` has those of each line, where the metric marks any.
    """

    metric: str
    score: float
    low: float
    high: float
    n: int
    better: int
    signature: str
    lines: list[float]
    errors: list[list[ErrorSpan]] = field(default_factory=list)

    def text(self, with_errors: bool = False) -> str:
        direction = "" if self.better > 0 else ", lower is better"
        return "\n".join(
            [
                f"{self.metric}: {self.score:.4f} ({self.low:.4f} to {self.high:.4f}), n = {self.n}{direction}",
                f"  {self.signature}",
                *(self.error_lines() if with_errors else ()),
            ]
        )

    def error_lines(self) -> list[str]:
        """A line for each error."""
        return [
            f"  line {number}, characters {one.start} to {one.end}: {one.severity}, confidence {one.confidence:.2f}: "
            f"{one.text.strip()}"
            for number, own in enumerate(self.errors, 1)
            for one in own
        ]


def read_lines(path: str, option: str) -> list[str]:
    """The lines of a UTF-8 text file. Raises InputError for another file."""
    file = user_path(path)
    if not file.is_file():
        raise InputError(f"--{option} {path}: there is no such file")
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"--{option} {path}: is no UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    return text.removesuffix("\n").split("\n") if text else []


def read_files(outputs: str, references: Sequence[str], sources: str | None) -> Files:
    """Read the files. Raises InputError where they have different numbers of lines, or none."""
    lines = read_lines(outputs, "outputs")
    if not lines:
        raise InputError(f"--outputs {outputs}: has no line")
    texts = [read_lines(path, "references") for path in references]
    source_lines = read_lines(sources, "sources") if sources else []
    for option, path, own in [
        *(("references", path, own) for path, own in zip(references, texts, strict=True)),
        *([("sources", sources, source_lines)] if sources else []),
    ]:
        if len(own) != len(lines):
            raise InputError(
                f"--{option} {path}: has {len(own)} lines, and --outputs {outputs} has {len(lines)}"
            )
    return Files(
        source_lines or [""] * len(lines),
        lines,
        [list(row) for row in zip(*texts, strict=True)] or [[] for _ in lines],
        bool(sources),
    )


def ter_of(language: str) -> TER:
    """sacreBLEU's TER; of Chinese and Japanese by character, as it has no words to count there."""
    by_character = primary(language) in ("zh", "yue", "ja") if language else False
    return TER(normalized=by_character, asian_support=by_character)


def ter_statistics(outputs: Sequence[str], references: Sequence[Sequence[str]], metric: TER) -> Array:
    """(n, 2) per line: edits, and the mean length of the reference texts, by sacreBLEU."""
    scores = [
        metric.corpus_score([output], [[text] for text in own])
        for output, own in zip(outputs, references, strict=True)
    ]
    return np.asarray([(one.num_edits, one.ref_length) for one in scores], dtype=np.float64)


def ter_of_sums(sums: Array) -> Array:
    """(..., 2) sums -> (...) edits for 100 words of reference text."""
    return 100 * ratio_of_sums(sums)


def surface(name: str, files: Files, language: str) -> tuple[Array, Score, str]:
    """Statistics of each line, the function from their sums to the score, and sacreBLEU's signature."""
    if not files.has_references:
        raise InputError(f"--metric {name}: needs reference texts; give --references")
    if name == "ter":
        metric = ter_of(language)
        metric.corpus_score(files.outputs, streams(files.references))
        return (
            ter_statistics(files.outputs, files.references, metric),
            ter_of_sums,
            str(metric.get_signature()),
        )
    signature = signatures(files.outputs, files.references, language)[name]
    if name == "bleu":
        return bleu_statistics(files.outputs, files.references, language), bleu_of_sums, signature
    return chrf_statistics(files.outputs, files.references), chrf_of_sums, signature


def by_encoder(name: str, files: Files, place: torch.device) -> tuple[list[float], str]:
    """The cosine of each output with its nearest reference text, and its signature, as the evaluation has them."""
    if not files.has_references:
        raise InputError(f"--metric {name}: needs reference texts; give --references")
    encoder_name = name.removeprefix(COSINE)
    encoder = load_encoder(encoder_name, cache_dir(), place)
    values = cosines(files.outputs, files.references, encoder.encode)
    return values, f"encoder:{encoder_name}:{encoder.fingerprint[:12]}"


def by_network(
    name: str, files: Files, place: torch.device
) -> tuple[list[float], list[list[ErrorSpan]], int, str]:
    """The score of each line by a learned metric, the errors that it marks, whether higher is better, its signature."""
    scorer = open_scorer(name, place)
    facts = scorer.facts
    for is_needed, is_there, option in (
        (facts.needs_reference, files.has_references, "references"),
        (facts.needs_source, files.has_sources, "sources"),
    ):
        if is_needed and not is_there:
            raise InputError(f"--metric {name}: {facts.family} needs {option}; give --{option}")
    texts = (files.sources, files.outputs, files.references)
    values, errors = scorer.judgements(*texts) if facts.marks_errors else (scorer.scores(*texts), [])
    return values.tolist(), errors, facts.better, scorer.signature


def score(name: str, files: Files, language: str, device_name: str, resamples: int, seed: int) -> Result:
    """One metric over the files. Raises InputError for one that lacks what it needs."""
    better = 1
    of_sums: Score = ratio_of_sums
    errors: list[list[ErrorSpan]] = []
    if name in SURFACE:
        rows, of_sums, signature = surface(name, files, language)
        better = -1 if name == "ter" else 1
    elif name.startswith(COSINE):
        values, signature = by_encoder(name, files, device.choose(device_name).device)
        rows = mean_statistics(values)
    else:
        values, errors, better, signature = by_network(name, files, device.choose(device_name).device)
        rows = mean_statistics(values)
    counts = resample_counts(len(rows), np.random.default_rng(seed), resamples)
    tail = (1 - CONFIDENCE) / 2
    low, high = map(float, np.quantile(of_sums(counts @ rows), [tail, 1 - tail]))
    value = float(of_sums(rows.sum(axis=0)))
    lines = list(map(float, of_sums(rows)))
    return Result(name, value, low, high, len(rows), better, signature, lines, errors)


def segment_lines(files: Files, results: Sequence[Result]) -> str:
    """JSON Lines: of each line its texts, its score by each metric, and the errors that a metric marks in it."""
    return "".join(
        json.dumps(
            {
                "line": row + 1,
                "source": files.sources[row],
                "output": files.outputs[row],
                "references": files.references[row],
                "scores": {one.metric: one.lines[row] for one in results},
                "errors": {one.metric: list(map(asdict, one.errors[row])) for one in results if one.errors},
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        + "\n"
        for row in range(len(files.outputs))
    )


def run(options: argparse.Namespace) -> None:
    if options.resamples < LEAST_RESAMPLES:
        raise InputError(f"--resamples {options.resamples}: an interval needs at least {LEAST_RESAMPLES}")
    files = read_files(options.outputs, options.references, options.sources)
    for name in options.metric:
        if name not in SURFACE and not name.startswith(COSINE) and not Path(user_path(name)).is_dir():
            raise InputError(
                f"--metric {name}: is neither {', '.join(SURFACE)} nor a folder of a learned metric, nor {COSINE}ENCODER"
            )
    results = [
        score(name, files, options.language, options.device, options.resamples, options.seed)
        for name in options.metric
    ]
    if options.segments:
        atomic_write_text(user_path(options.segments), segment_lines(files, results))
    if options.json:
        print(json.dumps([asdict(one) for one in results], ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(one.text(options.errors) for one in results))


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m eval.score", description="Score text files, aligned by line.")
    add = parser.add_argument
    add(
        "--metric",
        nargs="+",
        required=True,
        help=f"{', '.join(SURFACE)}, {COSINE}ENCODER, or the folder of a learned metric",
    )
    add("--outputs", required=True, help="what a system wrote, one line a segment")
    add("--references", nargs="+", default=[], help="one file of reference texts, or several")
    add("--sources", help="what the system translated")
    add(
        "--language",
        default="en",
        help="code of the outputs' language, which decides how BLEU cuts texts (default: %(default)s)",
    )
    add("--json", action="store_true", help="print JSON, with the score of each line")
    add("--errors", action="store_true", help="print the errors that xCOMET marks, one a line")
    add("--segments", metavar="FILE", help="write JSON Lines: texts, scores and errors of each line")
    add("--device", default="auto", help="where to compute (default: an accelerator if there is one)")
    add("--resamples", type=int, default=RESAMPLES, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    options = parser.parse_args(argv)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
