"""How long a stage still takes: a typical step, and what is done between steps, each counted on its own."""

from collections.abc import Mapping, Sequence
from statistics import median

WINDOW = 20  # the last steps, of which the median is a typical one
BETWEEN = ("tax", "dev", "save", "snapshot")  # phases after a step; the log has them in the next one


def seconds_left(rows: Sequence[Mapping[str, float]], num_left: int) -> float:
    """The seconds that `num_left` steps will take. `rows`: the seconds of each step so far by phase, and of all of it as "step".

    The first step is left out where there are others, because it has what is done once.

    >>> steps = [{"update": 4.0, "step": 90.0}, {"update": 2.0, "step": 2.0}, {"update": 2.0, "dev": 30.0, "step": 32.0}]
    >>> seconds_left(steps[:1], 5), seconds_left(steps[:2], 4), seconds_left(steps, 3)  # two more "dev"
    (20.0, 8.0, 66.0)
    """
    work = [row["step"] - sum(row.get(name, 0.0) for name in BETWEEN) for row in rows]
    of_phases = sum(value for name, value in rows[0].items() if name not in ("step", *BETWEEN))
    step = median(work[1:][-WINDOW:] or [of_phases])
    return num_left * step + sum(_between(name, rows, num_left) for name in BETWEEN)


def _between(name: str, rows: Sequence[Mapping[str, float]], num_left: int) -> float:
    """Seconds of a phase that comes after every n-th step, as often as that is still to come."""
    places = [number for number, row in enumerate(rows) if number and row.get(name)]
    if not places:
        return 0.0
    total = (len(rows) + num_left) // places[0]
    return max(0, total - len(places)) * median(rows[place][name] for place in places)
