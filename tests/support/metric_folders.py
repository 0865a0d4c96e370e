"""The tiny learned metrics of benchmarks/tiny_metrics.py as metric folders."""

from pathlib import Path

from benchmarks.tiny_metrics import write_checkpoint
from reward.learned.convert import convert


def metric_folder(place: Path, name: str) -> Path:
    """The converted folder of one metric, made once below `place`."""
    out = place / f"{name}_folder"
    if not out.exists():
        checkpoint, base = write_checkpoint(name, place / name, place / "bases")
        convert(checkpoint, base, out)
    return out
