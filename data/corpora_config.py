"""A table [data.corpora.NAME]: one of several corpora that a run learns from, with its own direction."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class CorpusConfig:
    """Its settings mean what they mean in [data]; one that is left out is that of [data]. `share` is the weight with
    which its prompts are drawn; 0 in all of them = by their sizes and `data.temperature`.
    """

    corpus: str = ""
    train: str = ""
    warm_start: str = ""
    dev: str = ""
    test: str = ""
    tests: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    prompts: str = ""
    reverse: bool = False
    task: str = ""
    catalogue: str = ""
    languages: tuple[str, ...] = ()
    source_language: str = ""
    target_language: str = ""
    target_script: str = ""
    source_column: str | int = ""
    reference_column: str | int = ""
    share: float = 0.0

    @property
    def own_settings(self) -> dict[str, Any]:
        """Those that are set here, by their names in [data]."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "share"}
        return {name: value for name, value in values.items() if value}


def temperature_shares(sizes: dict[str, int], temperature: float) -> dict[str, float]:
    """The probability of each corpus, proportional to size ** (1 / temperature) (arXiv 1907.05019, section 3): 1 is
    by size, a large one draws all equally often.

    >>> temperature_shares({"large": 900, "small": 100}, 1)
    {'large': 0.9, 'small': 0.1}
    >>> temperature_shares({"large": 900, "small": 100}, 2)
    {'large': 0.75, 'small': 0.25}
    """
    weights = {name: size ** (1 / temperature) for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
