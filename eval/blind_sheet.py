"""`python -m eval.blind_sheet make | score`: makes and scores a sheet on which native readers choose between
two systems' outputs without knowing which is whose.

`make` writes sheet.html and sheet.csv, of which a reader gets one, and key.json, which no reader gets.
`score` reads filled sheets of one or more readers with the key (docs/preference.md).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from data.arguments import ArgumentParser
from data.cache import atomic_folder
from data.documents import user_path
from data.errors import InputError, run_command
from eval.preference.outcome import Answer, common_side, preference, preference_table
from eval.preference.pairs import destination, make_pairs, names, random_pairs, read_outputs, task_word
from eval.preference.sheet_csv import COLUMNS, read_signs, sheet_csv
from eval.preference.sheet_key import Key, make_key, read_key
from eval.preference.sheet_page import blind_page
from eval.report.blocks import plain_text
from eval.report.cards import html_tag
from eval.systems import write_json

Signs = Mapping[str, str]  # row name -> "1", "2" or "="


def write_sheet(key: Key, folder: Path) -> None:
    """sheet.html, sheet.csv and key.json in a folder that must not exist. Raises InputError."""
    if folder.exists():
        raise InputError(
            f"{folder}: exists, and may hold a sheet that somebody is filling; give another --out"
        )
    sheet_rows = [
        (name, pair, pair.outputs(first))
        for name, (pair, first) in zip(key.row_names(), key.rows, strict=True)
    ]
    cells = [(name, pair.source, pair.reference, *outputs, "", "") for name, pair, outputs in sheet_rows]
    rows = [
        {
            "id": name,
            "source": pair.source,
            "reference": pair.reference,
            "one": outputs[0],
            "two": outputs[1],
            "source_language": html_tag(pair.source_language),
            "target_language": html_tag(pair.target_language),
        }
        for name, pair, outputs in sheet_rows
    ]
    with atomic_folder(folder) as work:
        page = blind_page(key.sha256, COLUMNS, rows, task_word(sheet_rows[0][1]))
        document = (
            json.dumps({"sheet_sha256": key.sha256, **key.document()}, ensure_ascii=False, indent=1) + "\n"
        )
        for name, text in (("sheet.html", page), ("sheet.csv", sheet_csv(cells)), ("key.json", document)):
            (work / name).write_text(text, encoding="utf-8", newline="")


def answers_of(key: Key, signs: Signs) -> list[Answer | None]:
    """The reader's answer to each row of the sheet; None where there is none."""
    rows = zip(key.row_names(), key.rows, strict=True)
    return [Answer(first, signs[name]) if name in signs else None for name, (_, first) in rows]


def sheet_result(
    key: Key, reader: str, answers: Sequence[Sequence[Answer]], outcomes: Sequence[int]
) -> dict[str, Any]:
    """The result over the rows that have an answer, and the identical outputs as ties.

    `answers`, `outcomes`: one for each row of the sheet.
    """
    answered_rows = [
        row for row in zip((pair for pair, _ in key.rows), outcomes, answers, strict=True) if row[2]
    ]
    pairs, results, row_answers = zip(*answered_rows, *((pair, 0, ()) for pair in key.identical), strict=True)
    result = preference((key.before, key.after), reader, pairs, results, row_answers, key.seed)
    return {**result, "unanswered": len(key.rows) - len(answered_rows)}


def score(key: Key, sheets: Mapping[str, Signs]) -> dict[str, Any]:
    """The readers' results and their agreement; over all readers the side with more votes wins an item."""
    columns = {name: answers_of(key, signs) for name, signs in sheets.items()}
    votes = [[answer for answer in row if answer is not None] for row in zip(*columns.values(), strict=True)]
    sums = [sum(answer.side for answer in row) for row in votes]
    majority = [(total > 0) - (total < 0) for total in sums]
    title = f"blind sheet, {len(sheets)} reader{'s' if len(sheets) > 1 else ''}"
    readers = []
    for name, column in columns.items():
        alone = [[answer] if answer is not None else [] for answer in column]
        readers.append(sheet_result(key, name, alone, list(map(common_side, alone))))
    pairs = [
        {"readers": names, **agreement(*(columns[name] for name in names))}
        for names in combinations(columns, 2)
    ]
    return {
        **sheet_result(key, title, votes, majority),
        "sheet_sha256": key.sha256,
        "readers": readers,
        "agreement": pairs,
    }


def agreement(first: Sequence[Answer | None], second: Sequence[Answer | None]) -> dict[str, Any]:
    """Share of rows that both answered alike, and Cohen's kappa (observed - chance) / (1 - chance), or null.

    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
    (1960).
    """
    both = [(a.side, b.side) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not both:
        return {"n": 0, "raw": None, "kappa": None}
    n = len(both)
    one = Counter(a for a, _ in both)
    other = Counter(b for _, b in both)
    observed_share = sum(a == b for a, b in both) / n
    chance_share = sum(one[side] * other[side] for side in one) / n**2
    return {
        "n": n,
        "raw": observed_share,
        "kappa": (observed_share - chance_share) / (1 - chance_share) if chance_share < 1 else None,
    }


def run_make(options: argparse.Namespace) -> None:
    files = read_outputs(user_path(options.before)), read_outputs(user_path(options.after))
    key = make_key(names(*files), random_pairs(make_pairs(*files), options.n, options.seed), options.seed)
    folder = destination(options.out)
    write_sheet(key, folder)
    print(
        f"{folder}: {len(key.rows)} items to read; {len(key.identical)} more have identical outputs, are not "
        "shown and count as ties"
    )
    print("give a reader sheet.html (or sheet.csv) alone; keep key.json")


def run_score(options: argparse.Namespace) -> None:
    key = read_key(user_path(options.key))
    if len(set(options.sheets)) < len(options.sheets):
        raise InputError("a sheet is named twice; name one sheet for each reader")
    result = score(key, {path: read_signs(user_path(path), key.row_names()) for path in options.sheets})
    for part in (*result["readers"], result)[-1 if len(result["readers"]) == 1 else 0 :]:
        print(plain_text(preference_table(part)))
        print(f"Left out, because not answered: {part['unanswered']} of {len(key.rows)} items.\n")
    for pair in result["agreement"]:
        raw, kappa = ("-" if pair[name] is None else f"{pair[name]:.2f}" for name in ("raw", "kappa"))
        print(f"{' and '.join(pair['readers'])}: agree in {raw} of {pair['n']} items, Cohen's kappa {kappa}")
    if options.out:
        write_json(destination(options.out), result)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m eval.blind_sheet", description="A blind comparison for native readers."
    )
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="write the sheet and its key")
    make.add_argument(
        "--before", required=True, help="eval/SYSTEM.json of a run folder, or a point of a study"
    )
    make.add_argument("--after", required=True, help="likewise; a win is a win of this one")
    make.add_argument("--n", type=int, default=60, help="at most so many random items (default: 60)")
    make.add_argument("--seed", type=int, default=0, help="of the choice of items, their order and sides")
    make.add_argument("--out", required=True, help="a folder that does not exist yet")
    make.set_defaults(run=run_make)
    rate = commands.add_parser("score", help="score filled sheets")
    rate.add_argument("sheets", nargs="+", metavar="SHEET.csv", help="one for each reader")
    rate.add_argument("--key", required=True, help="key.json of the sheet")
    rate.add_argument("--out", help="also write the result as JSON")
    rate.set_defaults(run=run_score)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
