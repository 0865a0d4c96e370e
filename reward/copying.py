"""Guard against copies of the source: penalises long runs of source units, beyond those in the reference
text.

    uncopied = 1 - max(0, copied(completion) - copied(reference text)) / length of the completion

`copied` counts the units in runs of at least n units that the source has too: single words, names and numbers
are free, sentences are not. The allowance is a number of units and not a share: a headline that is one phrase
of the body has a share of 1, which would allow a copy of the whole body. The guard matters most in headline
generation, where source and target have one script; it also catches a source copied in another script.
"""

from collections.abc import Sequence

from torch import Tensor

from reward.rows import References, Texts, check_setting, per_row
from reward.units import ngrams, units


def copied_units(text: tuple[str, ...], source: tuple[str, ...], run: int) -> int:
    """The number of units of `text` in runs of >= `run` units of `source`; a shorter source counts where it
    is copied as a whole.

    >>> copied_units(("x", "a", "b", "c", "y", "a"), ("a", "b", "c", "d"), 3)
    3
    """
    run = max(1, min(run, len(source)))
    source_runs = set(ngrams(source, run))
    count = 0
    end = 0
    for start, gram in enumerate(ngrams(text, run)):
        if gram in source_runs:
            count += start + run - max(start, end)
            end = start + run
    return count


def uncopied(sources: Texts, completions: Texts, references: References, *, run: int = 6) -> Tensor:
    """Guard: 1 where runs of >= `run` source units cover no more units than in the reference text: N rows ->
    (N,) fp32.

    Of 3,626 real Dzongkha section headings 6 % have a run of 6 out of their section and 22 % one of 4, so a
    smaller `run` penalises real headings. Raises InputError for a `run` below 1.
    """
    check_setting("uncopied.run", run, 1)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        completion_units = units(completion)
        source_units = units(source)
        allowance = max(copied_units(units(text), source_units, run) for text in texts)
        return 1 - max(0, copied_units(completion_units, source_units, run) - allowance) / max(
            1, len(completion_units)
        )

    return per_row(score, sources, completions, references)
