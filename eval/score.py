"""`python -m eval.score --metric NAME_OR_FOLDER ... --outputs FILE ... --references FILE ... --sources FILE`: scores any text
files, aligned by line, or the columns of one table (`--tsv`).

A metric is chrf, bleu or ter by sacreBLEU, cosine:ENCODER by an encoder of `reward.encoder`, or the folder of a learned
one (`python -m reward.learned` makes it). The answer has the score of all lines together, their number, a 95 % interval
(bootstrap over lines, or over documents) and the signature of the metric. Of several systems each is compared with the
first: difference, paired interval, p by approximate randomisation, and ranks as WMT gives them. `--errors` adds the errors
that xCOMET marks, and `--segments FILE` writes everything line by line.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.console import say
from data.documents import user_path
from data.errors import InputError, run_command
from eval.metrics.ranking import group_numbers, random_swaps, randomisation_p
from eval.metrics.significance import RESAMPLES, Array, cluster_counts, paired_bootstrap, percentile_interval
from eval.score_files import Files, read_files, read_table
from eval.score_metrics import COSINE, NUMBER_FORMATS, SURFACE, Options, Scores, check_metric, scores_of
from eval.systems import rank_statistics

if TYPE_CHECKING:
    from reward.learned.unified import ErrorSpan

LEAST_RESAMPLES = 100
TABLE_END = ".tsv"


@dataclass(frozen=True)
class Change:
    """A system minus the first one: paired 95 % interval by bootstrap, two-sided p by approximate randomisation."""

    against: str
    difference: float
    low: float
    high: float
    p: float

    def text(self) -> str:
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"
        return f"{self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f}), {p}"


@dataclass(frozen=True)
class Result:
    """The score of a system by a metric over n lines, with its 95 % interval; `better` is 1 where a higher score is
    better, else -1. `rank` among the systems, 1 = the best; `change` against the first of them. `errors` has those of
    each line, where the metric marks any.
    """

    metric: str
    system: str
    score: float
    low: float
    high: float
    n: int
    better: int
    signature: str
    lines: list[float]
    rank: int = 1
    change: Change | None = None
    errors: "list[list[ErrorSpan]]" = field(default_factory=list)

    def interval(self) -> str:
        return f"{self.score:.4f} ({self.low:.4f} to {self.high:.4f})"

    def error_lines(self) -> list[str]:
        """A line for each error."""
        return [
            f"  line {number}, characters {one.start} to {one.end}: {one.severity}, confidence {one.confidence:.2f}: "
            f"{one.text.strip()}"
            for number, own in enumerate(self.errors, 1)
            for one in own
        ]


@dataclass(frozen=True)
class Draws:
    """The draws of the lines, or of whole documents, that all systems and metrics share: (resamples, n) each."""

    counts: Array
    swaps: Array


def make_draws(files: Files, resamples: int, seed: int) -> Draws:
    groups = group_numbers(files.documents) if any(files.documents) else np.arange(files.count)
    return Draws(
        cluster_counts(groups, np.random.default_rng(seed), resamples),
        random_swaps(groups, np.random.default_rng(seed), resamples),
    )


def results_of(metric: str, by_system: Mapping[str, Scores], draws: Draws) -> list[Result]:
    """The score, interval, rank and change of each system by one metric."""
    first = next(iter(by_system))
    rows = {system: {metric: own.rows} for system, own in by_system.items()}
    ranks = rank_statistics(rows, draws.swaps, {metric: by_system[first].better})[metric]
    results = []
    for system, own in by_system.items():
        value = float(own.of_sums(own.rows.sum(axis=0)))
        low, high = percentile_interval(own.of_sums(draws.counts @ own.rows))
        lines = list(map(float, own.of_sums(own.rows)))
        change = None if system == first else change_from(first, by_system[first], own, draws)
        results.append(
            Result(
                metric, system, value, low, high, len(lines), own.better, own.signature, lines, ranks[system], change, own.errors,
            )
        )  # fmt: skip
    return results


def change_from(first: str, before: Scores, after: Scores, draws: Draws) -> Change:
    """A system minus that of the name `first`."""
    difference = paired_bootstrap(before.rows, after.rows, after.of_sums, draws.counts)
    p = randomisation_p(before.rows, after.rows, after.of_sums, draws.swaps)
    return Change(first, difference.difference, difference.low, difference.high, p)


def answer(results: Sequence[Result], with_errors: bool) -> str:
    """What a terminal shows of one metric: one system in a line, several as a list."""
    first = results[0]
    direction = "" if first.better > 0 else ", lower is better"
    about = [f"  {line}" for line in dict.fromkeys(one.signature for one in results)]
    if len(results) == 1:
        errors = first.error_lines() if with_errors else []
        return "\n".join([f"{first.metric}: {first.interval()}, n = {first.n}{direction}", *about, *errors])
    width = max(len(one.system) for one in results)
    lines = [f"{first.metric}, n = {first.n}{direction}; difference from {first.system}"]
    for one in results:
        change = f"  {one.change.text()}" if one.change else ""
        lines.append(f"  {one.rank}. {one.system:{width}}  {one.interval()}{change}")
        lines += [f"  {line}" for line in (one.error_lines() if with_errors else ())]
    return "\n".join([*lines, *about])


def segment_records(files: Files, results: Sequence[Result]) -> str:
    """JSON Lines: of each line and system its texts, its score by each metric, and the errors that a metric marks."""
    return "".join(
        json.dumps(
            {
                "line": row + 1,
                "system": system,
                "source": files.sources[row],
                "output": outputs[row],
                "references": files.references[row],
                "scores": {one.metric: one.lines[row] for one in own},
                "errors": {one.metric: list(map(asdict, one.errors[row])) for one in own if one.errors},
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        + "\n"
        for system, outputs in files.outputs.items()
        for own in [[one for one in results if one.system == system]]
        for row in range(files.count)
    )


def segment_table(files: Files, results: Sequence[Result]) -> str:
    """Tab-separated: a column for each metric and system, a row for each line."""
    several = len(files.outputs) > 1
    header = ["line", *(f"{one.metric} {one.system}" if several else one.metric for one in results)]
    rows = [[str(row + 1), *(f"{one.lines[row]:.6f}" for one in results)] for row in range(files.count)]
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


def files_of_options(options: argparse.Namespace) -> Files:
    """The texts that the options name. Raises InputError for a table beside files, or neither."""
    others = [name for name in ("outputs", "references", "sources", "documents") if getattr(options, name)]
    if options.tsv:
        if others:
            raise InputError(f"--tsv has all texts; leave out --{others[0]}")
        return read_table(options.tsv)
    if not options.outputs:
        raise InputError("give --outputs FILE, what a system wrote, or --tsv FILE; - is standard input")
    return read_files(options.outputs, options.references, options.sources, options.documents)


def run(options: argparse.Namespace) -> None:
    if options.resamples < LEAST_RESAMPLES:
        raise InputError(f"--resamples {options.resamples}: an interval needs at least {LEAST_RESAMPLES}")
    files = files_of_options(options)
    for name in options.metric:
        check_metric(name, files)
    how = Options(options.language, options.device, options.format)
    draws = make_draws(files, options.resamples, options.seed)
    by_metric = [results_of(name, scores_of(name, files, how), draws) for name in options.metric]
    results = [one for own in by_metric for one in own]
    if options.segments:
        write = segment_table if options.segments.endswith(TABLE_END) else segment_records
        atomic_write_text(user_path(options.segments), write(files, results))
    if options.json:
        say(json.dumps([asdict(one) for one in results], ensure_ascii=False, allow_nan=False))
    else:
        say("\n".join(answer(own, options.errors) for own in by_metric))


def parser() -> ArgumentParser:
    """The options of the command."""
    parser = ArgumentParser(
        prog="python -m eval.score",
        description="Score text files, aligned by line, by any metrics; compare several systems.",
        epilog="examples: --metric chrf bleu --outputs a.txt b.txt --references ref.txt; --metric models/comet --tsv all.tsv",
    )
    add = parser.add_argument
    known = f"{', '.join(SURFACE)}, {COSINE}ENCODER, or the folder of a learned metric"
    add("--metric", nargs="+", required=True, help=known)
    add(
        "--outputs",
        nargs="+",
        metavar="FILE",
        help="what a system wrote, one line a segment; or several systems",
    )
    add("--references", nargs="+", default=[], metavar="FILE", help="one file of reference texts, or several")
    add("--sources", metavar="FILE", help="what the systems translated")
    add("--documents", metavar="FILE", help="the document of each line; whole documents are drawn at random")
    add(
        "--tsv",
        metavar="FILE",
        help="in place of the files: columns source, reference, document; others are systems",
    )
    add(
        "--language",
        default="en",
        help="code of the outputs' language, which decides how BLEU cuts texts (default: %(default)s)",
    )
    add("--json", action="store_true", help="print JSON, with the score of each line")
    add("--errors", action="store_true", help="print the errors that xCOMET marks, one a line")
    add(
        "--segments",
        metavar="FILE",
        help="write the scores of each line: JSON Lines with texts and errors, or a table where the name ends in .tsv",
    )
    add("--device", default="auto", help="where to compute (default: an accelerator if there is one)")
    add(
        "--format",
        default="fp32",
        choices=NUMBER_FORMATS,
        help="in which learned metrics compute (default: %(default)s)",
    )
    add("--resamples", type=int, default=RESAMPLES, help="of both tests (default: %(default)s)")
    add("--seed", type=int, default=0, help="of both tests (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
