"""`python -m eval.readme_table docs/results/study.json README.md`: the README's first table, made from a
committed summary of a study.

The text between the two markers is replaced; `--check` changes nothing and exits with 1 where it is not what
the summary says. `--rows methods` shows the study's main table in place of every arm: the best arm of each method.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import TypeVar

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError, run_command
from eval.report.wording import METRIC, TAX, Metric, plain_number
from eval.run_folder import SYSTEM_LABELS, Json, named_damage
from eval.study.cells import with_interval
from eval.study.main_table import BUDGET, END
from eval.study.points import WARM_START
from eval.study.roles import RIVALS, as_keys
from eval.study.sentences import fewer_seeds, metric_name

Made = TypeVar("Made")
OPEN = "<!-- results -->"
CLOSE = "<!-- /results -->"
TABLE_ROLES = ("main", "start", *RIVALS, "budget")  # ablations and controls are in the report
SCORES = ("cosine_held_out", "chrf")  # what no reward was made of; the report has the others and the probes
METHODS = {
    "grpo": "GRPO",
    "sft": "SFT on the reference texts",
    "best_of_group": "SFT on the best of its own samples",
    "recovery": "recovery by distillation from the untouched model",
    "self_distillation": "self-distillation (SDFT)",
}
WORDS = {  # a setting that tells arms apart -> how the table says it; any other is shown as key=value
    "train.optim.lr": "lr {}",
    "tax.budget": "tax budget {}",
    "anchor.sft": "warm start's anchor {}",
    "anchor.train": "training anchor {}",
    "tax.anchor": "training anchor {}",  # its name in summaries from before the two anchors
}
SHOWN = ("train.method", "train.num_steps")  # settings that a row says in other words
WIDTH = 100  # characters of a line of the note


def table(summary: Json) -> str:
    """The Markdown between the markers: scores, tax and description of each arm's last checkpoint, a note."""
    rows = table_rows(summary)
    common = next((as_keys(row["settings"]) for row in rows if row["kind"] == WARM_START), {})
    header = ("system", *(METRIC[key].label for key in SCORES), "tax, nats per token", "what it is")
    lines = [
        line(header),
        "|" + "---|" * len(header),
        *(line((*cells(row), description(row, common))) for row in rows),
    ]
    return "\n".join([*lines, "", note(summary)])


def method_table(summary: Json) -> str:
    """The Markdown between the markers: the best arm of each method at its end, and the best within the tax budget."""
    target = METRIC[summary["target"]]
    rows = {
        price: {row["method"]: row for row in summary["main_table"] if row["price"] == price}
        for price in (END, BUDGET)
    }
    limit = plain_number(summary["budget"])
    inside = f"within a tax of {limit}"
    header = (
        "method",
        f"{target.label}, gain",
        "tax, nats per token",
        f"{target.label}, gain {inside}",
        f"tax, {inside}",
    )
    lines = [line(header), "|" + "---|" * len(header)]
    for method, row in rows[END].items():
        both = (row, rows[BUDGET].get(method))
        lines.append(line((method, *(cell for one in both for cell in figures_of(one, target, summary)))))
    return "\n".join([*lines, "", method_note(summary)])


def figures_of(row: Json | None, target: Metric, summary: Json) -> tuple[str, str]:
    """Gain and tax of an arm, with its seeds where the study has more; dashes without an arm."""
    if row is None:
        return "-", "-"
    gain = with_interval(target, row["gains"][target.key])
    return gain + fewer_seeds(row, summary), with_interval(TAX, row["tax"])


def method_note(summary: Json) -> str:
    target = METRIC[summary["target"]]
    text = (
        f"{summary['n']} test items, seeds {', '.join(map(str, summary['seeds']))}. The arm of each method with the highest "
        f"{metric_name(target)}, chosen on the same items; gains over the warm start. Brackets: bootstrap over seeds and items. "
        f"{target.label} `{summary['signatures'].get(target.key, '')}`."
    )
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def table_rows(summary: Json) -> list[Json]:
    """The last checkpoint of the warm start and of every arm that is no ablation and no control."""
    last: dict[str, Json] = {row["arm"]: row for row in summary["checkpoints"]}
    return [row for row in last.values() if row["kind"] == WARM_START or row["role"] in TABLE_ROLES]


def line(texts: tuple[str, ...]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def cells(row: Json) -> tuple[str, ...]:
    """Name, scores and tax of a row; the scores of all but the warm start are gains over it."""
    warm = row["kind"] == WARM_START
    scores = (
        METRIC[key].value(row["metrics"][key]["value"])
        if warm
        else with_interval(METRIC[key], row["gains"][key])
        for key in SCORES
    )
    name = SYSTEM_LABELS[WARM_START] if warm else f"{row['arm']}, {row['step']} steps"
    return name, *scores, with_interval(TAX, row["tax"])


def description(row: Json, common: Mapping[str, str]) -> str:
    """'SFT on the reference texts, lr 1e-5': method, start and the settings that are not in `common`."""
    if row["kind"] == WARM_START:
        return "a short SFT, where the others begin"
    start = [] if row["start"] == WARM_START else [f"from {row['start']}"]
    own = {
        key: value
        for key, value in as_keys(row["settings"]).items()
        if key not in SHOWN and common.get(key) != value
    }
    return ", ".join(
        [
            METHODS[row["kind"]],
            *start,
            *(WORDS.get(key, f"{key}={{}}").format(value) for key, value in own.items()),
        ]
    )


def note(summary: Json) -> str:
    """n, seeds, intervals, signatures, in lines of WIDTH characters."""
    signatures = "; ".join(
        f"{METRIC[key].label} `{summary['signatures'][key]}`"
        for key in SCORES
        if key in summary["signatures"]
    )
    text = (
        f"{summary['n']} test items, seeds {', '.join(map(str, summary['seeds']))}. First row: scores; other rows: gains over it. "
        f"Tax: against the untouched model. Checkpoints chosen by {metric_name(METRIC[summary['target']])}. "
        f"Brackets: {summary['intervals']}. {signatures + '.' if signatures else ''}"
    ).rstrip()
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


ROWS = {"arms": table, "methods": method_table}


def read_readme(path: Path, marks: tuple[str, str]) -> str:
    """The text of a README. Raises InputError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); name a README with the lines {' and '.join(marks)}"
        ) from error


def replace_between(readme: str, marks: tuple[str, str], text: str, place: Path) -> str:
    """`readme` with `text` between the markers. Raises InputError unless each marker is there once, in order."""
    start, end = map(readme.find, marks)
    if any(readme.count(mark) != 1 for mark in marks) or end < start:
        raise InputError(
            f"{place}: the lines {' and '.join(marks)} must each be there once, in this order; write them where the result is to be"
        )
    return f"{readme[: start + len(marks[0])]}\n{text}\n{readme[end:]}"


def made_of(path: Path, make: Callable[[Json], Made]) -> Made:
    """What `make` makes of a summary file. Raises InputError where it is none."""
    summary = read_object(path)
    with named_damage(
        f"{path}: no summary of a study", "give the summary.json that the report of a study wrote"
    ):
        return make(summary)


def write_or_check(texts: Mapping[Path, str], source: Path, command: str, check: bool) -> int:
    """Write the files that are not yet as in `texts`; with `check` only say which: 0 or 1."""
    stale = [one for one, text in texts.items() if not one.is_file() or one.read_text("utf-8") != text]
    for one in stale:
        if check:
            print(f"{one}: is not that of {source}; run {command}", file=sys.stderr)
        else:
            atomic_write_text(one, texts[one])
    return int(check and bool(stale))


def run(summary: Path, readme: Path, rows: str, check: bool) -> int:
    """Rewrite the README, or only say whether it is stale: 0 or 1."""
    old = read_readme(readme, (OPEN, CLOSE))
    new = replace_between(old, (OPEN, CLOSE), made_of(summary, ROWS[rows]), readme)
    command = f"python -m eval.readme_table {summary} {readme} --rows {rows}"
    return write_or_check({readme: new}, summary, command, check)


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.readme_table", description="Rewrite the results table of a README."
    )
    parser.add_argument("summary", type=Path, help="summary.json of a study")
    parser.add_argument("readme", type=Path, help=f"a file with the lines {OPEN} and {CLOSE}")
    parser.add_argument(
        "--rows", choices=ROWS, default="arms", help="what a row is: an arm, or the best arm of a method"
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 where the table is stale"
    )
    options = parser.parse_args(argv)
    return run_command(lambda: run(options.summary, options.readme, options.rows, options.check))


if __name__ == "__main__":
    sys.exit(main())
