"""The picture of a run's first screen: held-out cosine against tax, from the untouched model over the warm start to the
trained one.
"""

from eval.report.blocks import Figure
from eval.report.changes import Change, probe_changes, score_change
from eval.report.scatter import Line, Mark, scatter
from eval.report.wording import METRIC
from eval.run_folder import Json, RunFolder

TEXTS = {"english": ("c0", ""), "chinese": ("c1", "5 3")}  # probe -> colour and dashes
WAY = ("warm_start", "trained")
SHAPES = {"untouched": "cross", "warm_start": "square", "trained": "circle"}
SCORE = METRIC["cosine_held_out"]
COST = "rise of bits per character over the untouched model"


def gain_against_tax(run: RunFolder) -> Figure | None:
    """None where no general text was measured."""
    run = run.main
    pairs = {
        name: pair for name in WAY if (pair := run.pair("untouched", name)) is not None and pair["probes"]
    }
    lines = [line for text in TEXTS if pairs and (line := text_line(run, pairs, text)) is not None]
    header = ("System and text", f"{SCORE.label} of the outputs", COST)
    return scatter(f"{SCORE.label} against the loss on general text", lines, header) if lines else None


def text_line(run: RunFolder, pairs: dict[str, Json], text: str) -> Line | None:
    """The way of the systems with one general text; None where it was not measured."""
    costs = {name: found[0] for name, pair in pairs.items() if (found := probe_changes(pair, (text,)))}
    if not costs:
        return None
    name = next(iter(costs.values())).label.split(",")[0]
    before = score_change(next(iter(pairs.values())), SCORE.key).facts["before"]
    cells = (f"{run.label('untouched')}, {name}", SCORE.value(before), "0")
    start = Mark(0.0, before, cells, SHAPES["untouched"])
    colour, dashes = TEXTS[text]
    marks = [mark(run.label(key), key, name, pairs[key], cost) for key, cost in costs.items()]
    return Line(name, colour, (start, *marks), dashes)


def mark(label: str, system: str, text: str, pair: Json, cost: Change) -> Mark:
    """One system: its score with the interval of its gain over the untouched model, and its cost."""
    gain = score_change(pair, SCORE.key).facts
    return Mark(
        cost.facts["difference"],
        gain["after"],
        (f"{label}, {text}", SCORE.value(gain["after"]), cost.cell),
        SHAPES[system],
        (cost.facts["low"], cost.facts["high"]),
        (gain["before"] + gain["low"], gain["before"] + gain["high"]),
        label,
    )
