"""What a learned metric scores: an output with its source and one reference text, or without it."""

from typing import NamedTuple


class Segment(NamedTuple):
    """`source` is "" for a metric that reads none; `reference` None where there is none."""

    source: str
    output: str
    reference: str | None = None

    @property
    def texts(self) -> tuple[str, str, str]:
        """Source, output and reference text of a metric that needs all three."""
        if self.reference is None:
            raise ValueError("a segment without a reference text")
        return self.source, self.output, self.reference
