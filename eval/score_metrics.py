"""The metrics of `eval.score`: sacreBLEU's, cosines by an encoder, and learned ones, each as statistics of lines."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sacrebleu.metrics.ter import TER

from data.cache import cache_dir
from data.documents import user_path
from data.errors import InputError
from data.script import primary
from eval.metrics.overlap import (
    bleu_of_sums,
    bleu_statistics,
    chrf_of_sums,
    chrf_statistics,
    signatures,
    streams,
)
from eval.metrics.significance import Array, Score, mean_statistics, ratio_of_sums
from eval.metrics.similarity import cosines
from eval.score_files import Files

if TYPE_CHECKING:
    from reward.learned.scores import Scorer
    from reward.learned.unified import ErrorSpan

SURFACE = ("chrf", "bleu", "ter")  # metrics by sacreBLEU
COSINE = "cosine:"  # before an encoder's name
NUMBER_FORMATS = ("fp32", "bf16")  # of learned metrics
AT_ONCE = 1024  # lines that a learned metric scores between two words of progress


@dataclass(frozen=True)
class Options:
    """How metrics compute: the language of the outputs, the device, and the number format of learned metrics."""

    language: str = "en"
    device: str = "auto"
    number_format: str = "fp32"


@dataclass(frozen=True)
class Scores:
    """(n, k) statistics of lines, the function from their sums to the score, and the metric's signature. `better` is 1
    where a higher score is better, else -1; `errors` has those of each line, where the metric marks any.
    """

    rows: Array
    of_sums: Score
    signature: str
    better: int = 1
    errors: "list[list[ErrorSpan]]" = field(default_factory=list)


def check_metric(name: str, files: Files) -> None:
    """Raises InputError for a metric that is not known, and for one that lacks reference texts which it always needs."""
    if name not in SURFACE and not name.startswith(COSINE):
        if not Path(user_path(name)).is_dir():
            raise InputError(
                f"--metric {name}: is neither {', '.join(SURFACE)} nor a folder of a learned metric, nor {COSINE}ENCODER"
            )
    elif not files.has_references:
        raise InputError(
            f"--metric {name}: needs reference texts; give --references, or a column reference in --tsv"
        )


def scores_of(name: str, files: Files, options: Options) -> dict[str, Scores]:
    """The statistics of each system by name. Raises InputError for a metric that lacks what it needs."""
    if name in SURFACE:
        return {system: surface(name, own, files, options.language) for system, own in files.outputs.items()}
    from grpo.runtime import device  # metrics of the surface need no torch

    place = device.choose(options.device).device
    if name.startswith(COSINE):
        from reward.encoder import load_encoder

        encoder_name = name.removeprefix(COSINE)
        encoder = load_encoder(encoder_name, cache_dir(), place, "--metric")
        signature = f"encoder:{encoder_name}:{encoder.fingerprint[:12]}"
        values = {
            system: cosines(own, files.references, encoder.encode) for system, own in files.outputs.items()
        }
        return {
            system: Scores(mean_statistics(own), ratio_of_sums, signature) for system, own in values.items()
        }
    from reward.learned.scores import open_scorer

    scorer = open_scorer(name, place, options.number_format)
    facts = scorer.facts
    for is_needed, is_there, option in (
        (facts.needs_reference, files.has_references, "references"),
        (facts.needs_source, files.has_sources, "sources"),
    ):
        if is_needed and not is_there:
            raise InputError(
                f"--metric {name}: {facts.family} needs {option}; give --{option}, or their column in --tsv"
            )
    return {system: by_network(scorer, name, system, own, files) for system, own in files.outputs.items()}


def surface(name: str, outputs: list[str], files: Files, language: str) -> Scores:
    """One system by a metric of sacreBLEU."""
    if name == "ter":
        metric = ter_of(language)
        metric.corpus_score(outputs, streams(files.references))
        rows = ter_statistics(outputs, files.references, metric)
        return Scores(rows, ter_of_sums, str(metric.get_signature()), better=-1)
    signature = signatures(outputs, files.references, language)[name]
    if name == "bleu":
        return Scores(bleu_statistics(outputs, files.references, language), bleu_of_sums, signature)
    return Scores(chrf_statistics(outputs, files.references), chrf_of_sums, signature)


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
    """(..., 2) sums -> (...) edits for 100 words of reference text; 100 for edits where there is no such word."""
    is_all_wrong = (sums[..., 0] > 0) & (sums[..., 1] == 0)
    return np.where(is_all_wrong, 100.0, 100 * ratio_of_sums(sums))


def by_network(scorer: "Scorer", name: str, system: str, outputs: list[str], files: Files) -> Scores:
    """One system by a learned metric, with a line of progress in a terminal."""
    values: list[float] = []
    errors: list[list[ErrorSpan]] = []
    for part in parts(f"{name}, {system}", len(outputs)):
        texts = files.sources[part], outputs[part], files.references[part]
        if scorer.facts.marks_errors:
            own, spans = scorer.judgements(*texts)
            errors += spans
        else:
            own = scorer.scores(*texts)
        values += own.tolist()
    return Scores(mean_statistics(values), ratio_of_sums, scorer.signature, scorer.facts.better, errors)


def parts(label: str, count: int) -> Iterator[slice]:
    """AT_ONCE lines at a time. Where standard error is a terminal, one line there says how far it is."""
    is_shown = sys.stderr.isatty()
    try:
        for start in range(0, count, AT_ONCE):
            if is_shown:
                print(f"\r{label}: {start:,} of {count:,} lines", end="", file=sys.stderr, flush=True)
            yield slice(start, start + AT_ONCE)
    finally:
        if is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
