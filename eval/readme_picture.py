"""`python -m eval.readme_picture docs/results/study.json README.md`: the README's picture, gain against tax, made from a
committed summary of a study or from a study's folder.

It is the picture of the study's report, for the main arm, the best arm of each rival method, and those on the front
that begin from another arm. It writes one SVG file
that needs nothing else: light and dark by the reader's system, and readable at the width of a phone. The file says its
numbers in words; the text between the two markers of the README names the file and what it shows. `--check` changes
nothing and exits with 1 where one of them is stale.
"""

import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from data.arguments import ArgumentParser
from data.errors import run_command
from eval.readme_table import METHODS, made_of, read_readme, replace_between, write_or_check
from eval.report.page_files import CSS
from eval.report.scatter import HEIGHT, WIDTH, Line, drawing_svg, key_shapes
from eval.report.verdict import capital
from eval.run_folder import SYSTEM_LABELS, Json
from eval.study.plots import bend_of, pareto_lines, tax_across
from eval.study.points import WARM_START
from eval.study.roles import RIVALS
from eval.study.sentences import METRIC

MARKS = ("<!-- picture -->", "<!-- /picture -->")
SVG = Path("docs/results/gain_against_tax.svg")
ROW = 18  # units of a picture from one line of the legend to the next
COLOURS_END = "* { box-sizing"  # of the page's style: before it stand the colours, light and dark
RULES = ("svg text", "svg .", "svg path", ".c")  # what a picture needs of the rest
ALONE = "text { font-family: system-ui, sans-serif; }\n.page { fill: var(--ground); }\n"


def picture_rows(summary: Json) -> list[Json]:
    """The checkpoints of the warm start, of the main arm, of the arm of each rival method that gains most, and of
    those on the front that begin from another arm.
    """
    metric = summary["target"]
    rows = [row for row in summary["checkpoints"] if row["gains"][metric] is not None]
    last = {row["arm"]: row for row in rows}
    arms = {row["arm"] for row in last.values() if row["kind"] == WARM_START or row["role"] == "main"}
    arms |= {row["arm"] for row in last.values() if row["role"] == "start" and row["on_front"]}
    for kind in RIVALS:
        own = [row for row in last.values() if row["role"] == kind]
        arms |= {max(own, key=lambda row: row["gains"][metric]["value"])["arm"]} if own else set()
    return [row for row in rows if row["arm"] in arms]


def style() -> str:
    """The rules of the report's page that a picture needs."""
    colours, _, rest = CSS.partition(COLOURS_END)
    rules = [rule for rule in rest.splitlines() if rule.startswith(RULES) and rule.endswith("}")]
    return "\n".join([colours.strip(), *rules, ALONE])


def picture(summary: Json) -> tuple[str, str]:
    """The SVG file, and what it shows in words with its numbers."""
    rows = picture_rows(summary)
    metric = summary["target"]
    across = tax_across(summary["budget"])
    lines = pareto_lines(rows, metric, across)
    header = ("Checkpoint", f"gain in {METRIC[metric].label} over the warm start", across.label)
    kinds = {row["arm"]: METHODS.get(row["kind"], "where the others begin") for row in rows}
    words = description(lines, header, summary)
    drawing = drawing_svg(words, lines, header, bend_of(rows, across), across.budget)
    legend = legend_svg(lines, kinds, summary["budget"])
    height = HEIGHT + ROW * (len(lines) + 1) + 10
    inner = drawing.partition(">")[2].removesuffix("</svg>")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(capital(header[1]))} against tax</title>\n<desc>{escape(words)}</desc>\n<style>\n{style()}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{height}"/>\n{inner}\n{legend}\n</svg>\n'
    )
    return svg, words


def description(lines: Sequence[Line], header: tuple[str, ...], summary: Json) -> str:
    """What the picture shows, and the last point of each line with its intervals."""
    last = [line.marks[-1] for line in lines]
    points = [
        f"{mark.cells[0].removesuffix(' *')}: {f'gain {mark.cells[1]}, ' if mark.up else ''}tax {mark.cells[2]}"
        for mark in last
    ]
    title = f"{capital(header[1])} against tax in nats per token"
    return f"{title}, {summary['n']} test items, 95 % intervals. {'; '.join(points)}."


def legend_svg(lines: Sequence[Line], kinds: dict[str, str], budget: float) -> str:
    """What each line is, one below the other, and the budget."""
    rows = [
        f'<g transform="translate(6 {HEIGHT + 4 + ROW * number})">{key_shapes(line)}'
        f'<text x="34" y="10">{escape(legend_name(line.name, kinds))}</text></g>'
        for number, line in enumerate(lines)
    ]
    place = HEIGHT + 4 + ROW * len(lines)
    rows.append(
        f'<g transform="translate(6 {place})"><path class="limit" d="M13 0V12"/>'
        f'<text x="34" y="10">a tax budget of {budget:g}</text></g>'
    )
    return "\n".join(rows)


def legend_name(name: str, kinds: dict[str, str]) -> str:
    """'sft_1e-5: SFT on the reference texts'."""
    arm = name.replace(" ", "_")
    return f"{SYSTEM_LABELS.get(arm, arm)}: {kinds[arm]}" if arm in kinds else name


def run(source: Path, readme: Path, svg: Path, check: bool) -> int:
    """Write the picture and its place in the README, or only say whether one is stale: 0 or 1."""
    path = source / "summary.json" if source.is_dir() else source
    drawing, words = made_of(path, picture)
    place = Path(os.path.relpath(svg.resolve(), readme.resolve().parent)).as_posix()
    title = words.partition(",")[0]
    text = f"![{title}]({place})"
    old = read_readme(readme, MARKS)
    new = {svg: drawing, readme: replace_between(old, MARKS, text, readme)}
    return write_or_check(new, path, f"python -m eval.readme_picture {path} {readme}", check)


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.readme_picture", description="Draw gain against tax for a README."
    )
    parser.add_argument("study", type=Path, help="a study's folder, or its summary.json")
    parser.add_argument("readme", type=Path, help=f"a file with the lines {MARKS[0]} and {MARKS[1]}")
    parser.add_argument("--svg", type=Path, default=SVG, help=f"the picture's file (default: {SVG})")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where one is stale")
    options = parser.parse_args(argv)
    return run_command(lambda: run(options.study, options.readme, options.svg, options.check))


if __name__ == "__main__":
    sys.exit(main())
