"""`python -m eval.readme_picture docs/results/study.json README.md`: the README's picture, gain against tax, made from a
committed summary of a study or from a study's folder.

It shows the study's main table: of each method the arm that gains most, and the one that gains most within the tax
budget. Arms that gain less than 80 % of the best are left out; a method without any other is named below. It writes one SVG file
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
from eval.readme_table import made_of, read_readme, replace_between, write_or_check
from eval.report.page_files import CSS
from eval.report.scatter import HEIGHT, WIDTH, Line, Mark, drawing_svg, key_shapes
from eval.report.verdict import capital
from eval.report.wording import METRIC, TAX
from eval.run_folder import Json
from eval.study.cells import with_interval
from eval.study.main_table import BUDGET, END
from eval.study.plots import DASHES, SHAPES, bend_of, tax_across
from eval.study.sentences import fewer_seeds

MARKS = ("<!-- picture -->", "<!-- /picture -->")
SVG = Path("docs/results/gain_against_tax.svg")
LEAST = 0.8  # of the highest gain: an arm that gains less would squeeze the others
COLOURS = 8  # classes c0 to c7 of page.css
ROW = 16  # units of a picture from one line of the legend to the next
COLOURS_END = "* { box-sizing"  # of the page's style: before it stand the colours, light and dark
RULES = ("svg text", "svg .", "svg path", ".c")  # what a picture needs of the rest
ALONE = "text { font-family: system-ui, sans-serif; }\n.page { fill: var(--ground); }\n"


def rows_by_method(summary: Json) -> dict[str, list[Json]]:
    """By method: the row of its best arm within the tax budget, where there is one, and that of its best arm."""
    rows = [row for price in (BUDGET, END) for row in summary["main_table"] if row["price"] == price]
    methods = dict.fromkeys(row["method"] for row in summary["main_table"])
    return {
        method: list({row["arm"]: row for row in rows if row["method"] == method}.values())
        for method in methods
    }


def method_lines(summary: Json) -> tuple[list[Line], list[str]]:
    """A line for each method through its arms, the highest gain first; the methods whose arms are all left out."""
    metric = summary["target"]
    methods = rows_by_method(summary)
    least = LEAST * max(gain_of(row, metric) for rows in methods.values() for row in rows)
    shown = {
        method: [row for row in rows if gain_of(row, metric) >= least] for method, rows in methods.items()
    }
    order = sorted(filter(shown.get, shown), key=lambda method: -gain_of(shown[method][-1], metric))
    lines = []
    for number, method in enumerate(order):
        rows = shown[method]
        shape = SHAPES[number % len(SHAPES)]
        marks = tuple(arm_mark(row, metric, shape) for row in rows)
        name = method + fewer_seeds(rows[-1], summary)
        lines.append(Line(name, f"c{number % COLOURS}", marks, DASHES[number % len(DASHES)]))
    return lines, [method for method, rows in shown.items() if not rows]


def gain_of(row: Json, metric: str) -> float:
    return float(row["gains"][metric]["value"])


def arm_mark(row: Json, metric: str, shape: str) -> Mark:
    """The point of an arm, with its intervals."""
    gain, tax = row["gains"][metric], row["tax"]
    cells = (row["arm"], with_interval(METRIC[metric], gain), with_interval(TAX, tax))
    return Mark(
        tax["value"], gain["value"], cells, shape, (tax["low"], tax["high"]), (gain["low"], gain["high"])
    )


def style() -> str:
    """The rules of the report's page that a picture needs."""
    colours, _, rest = CSS.partition(COLOURS_END)
    rules = [rule for rule in rest.splitlines() if rule.startswith(RULES) and rule.endswith("}")]
    return "\n".join([colours.strip(), *rules, ALONE])


def picture(summary: Json) -> tuple[str, str]:
    """The SVG file, and what it shows in words with its numbers."""
    lines, left_out = method_lines(summary)
    metric, budget = METRIC[summary["target"]].label, summary["budget"]
    header = ("arm", f"gain in {metric}", tax_across(budget).label)
    words = description(lines, metric, summary)
    bend = bend_of([mark.x for line in lines for mark in line.marks], budget)
    drawing = drawing_svg(words, lines, header, bend, budget)
    legend = legend_svg(lines, left_out, budget)
    height = HEIGHT + ROW * (len(lines) + 1 + bool(left_out)) + 10
    inner = drawing.partition(">")[2].removesuffix("</svg>")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(capital(header[1]))} against tax</title>\n<desc>{escape(words)}</desc>\n<style>\n{style()}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{height}"/>\n{inner}\n{legend}\n</svg>\n'
    )
    return svg, words


def description(lines: Sequence[Line], metric: str, summary: Json) -> str:
    """What the picture shows, and the best arm of each line with its intervals."""
    best = [(line.name, line.marks[-1].cells) for line in lines]
    points = [f"{name} ({cells[0]}): gain {cells[1]}, tax {cells[2]}" for name, cells in best]
    title = f"Gain in {metric} against tax in nats per token"
    return f"{title}, {summary['n']} test items, 95 % intervals. {'; '.join(points)}."


def legend_svg(lines: Sequence[Line], left_out: Sequence[str], budget: float) -> str:
    """What each line is, one below the other, the budget, and what is left out."""
    signs = [(key_shapes(line), line.name) for line in lines]
    signs.append(('<path class="limit" d="M13 0V12"/>', f"a tax budget of {budget:g}"))
    if left_out:
        signs.append(("", f"far below: {', '.join(left_out)}"))
    return "\n".join(
        f'<g transform="translate(6 {HEIGHT + 4 + ROW * number})">{sign}<text x="34" y="10">{escape(text)}</text></g>'
        for number, (sign, text) in enumerate(signs)
    )


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
