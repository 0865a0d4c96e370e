"""Operations a second over operations a byte, under the roofs that were measured (Williams, Waterman and
Patterson 2009).
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.ceilings import Ceilings
from benchmarks.timing import Row

BLUE = "#2f86d2"
GREY = "#888888"


def attainable(intensity: float, bandwidth: float, product_rate: float) -> float:
    """Operations a second at most, at so many operations a byte.

    >>> attainable(2.0, 10.0, 100.0), attainable(50.0, 10.0, 100.0)
    (20.0, 100.0)
    """
    return min(product_rate, intensity * bandwidth)


def points(rows: Sequence[Row]) -> list[tuple[str, float, float]]:
    """(name, operations a byte, operations a second) of the rows that have both."""
    return [
        (row.name, row.flops / row.bytes, row.flops / row.seconds) for row in rows if row.flops and row.bytes
    ]


def draw(rows: Sequence[Row], ceilings: Ceilings, path: Path) -> None:
    """One numbered dot a row, named in the legend."""
    marks = points(rows)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    low = min(x for _, x, _ in marks) / 2
    high = max(x for _, x, _ in marks) * 2
    for name, bandwidth in ceilings.bandwidths.items():
        corner = min(max(ceilings.product_rate / bandwidth, low), high)
        places = [low, corner, high]
        rates = [attainable(x, bandwidth, ceilings.product_rate) / 1e9 for x in places]
        axes.plot(places, rates, color=GREY, linewidth=1)
        axes.annotate(name, (low, rates[0]), color=GREY, fontsize=8)
    axes.annotate(
        "square matrix product",
        (high, ceilings.product_rate / 1e9),
        color=GREY,
        fontsize=8,
        ha="right",
        va="bottom",
    )
    for number, (name, x, rate) in enumerate(marks, start=1):
        axes.plot([x], [rate / 1e9], "o", color=BLUE, markersize=5, label=f"{number}  {name}")
        axes.annotate(str(number), (x, rate / 1e9), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="operations / byte", ylabel="GFLOP/s")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, frameon=False, handlelength=0.5)
    figure.savefig(path, dpi=120)
