"""The table of all reward terms by name. A new one is a function in a file of `reward/` with its test, and a
row here.

A term: (sources, completions, references, *, settings) -> fp32 (N,), where references[i] holds one or more
texts. Terms that can be gates lie in [0, 1]; 1 = nothing wrong.
"""

from collections.abc import Callable

from torch import Tensor

from reward.copying import uncopied
from reward.cosine import cosine, cosine_empty, cosine_held_out, cosine_raw
from reward.coverage import coverage, coverage_idf, coverage_source
from reward.guards import length_fit, length_ratio, nonempty
from reward.hubness import margin, rank
from reward.language import language
from reward.lexical import bleu, chrf
from reward.markers import markers
from reward.order import order
from reward.repetition import unrepeated
from reward.script import script
from reward.source_length import source_length

# not in [0, 1], or for the log only
NO_GATES = ("cosine_raw", "cosine_held_out", "cosine_empty", "length_ratio", "coverage_source")

REFERENCE_FREE = ("script", "language", "source_length", "coverage_source")  # work without a reference text

TERMS: dict[str, Callable[..., Tensor]] = {
    # meaning
    "cosine": cosine,
    "cosine_raw": cosine_raw,
    "margin": margin,
    "rank": rank,
    "coverage": coverage,
    "coverage_idf": coverage_idf,
    "coverage_source": coverage_source,
    "cosine_held_out": cosine_held_out,
    "cosine_empty": cosine_empty,
    # language
    "script": script,
    "language": language,
    # guards
    "nonempty": nonempty,
    "length_fit": length_fit,
    "length_ratio": length_ratio,
    "source_length": source_length,
    "unrepeated": unrepeated,
    "uncopied": uncopied,
    "order": order,
    "markers": markers,
    # surface
    "chrf": chrf,
    "bleu": bleu,
}
