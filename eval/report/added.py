"""The part of a run's report on added systems: what each is, and what the run has trained minus it."""

from dataclasses import replace
from pathlib import Path

from eval.report.blocks import Block, Table, Text, plain_text, with_rows
from eval.report.tables import change_table, overall_table
from eval.run_folder import RunFolder, read_run


def added_text(folder: Path, name: str) -> str:
    """For the console: on each test set that has this added system, all systems, and what the run has trained minus it."""
    run = read_run(folder)
    tables = [
        table
        for test, view in run.views.items()
        if name in view.systems
        for table in (overall_table(view, f"Results on {test or 'the test set'}"), differences(view, name))
    ]
    return "\n\n".join(map(plain_text, with_rows(tables)))


def added_blocks(run: RunFolder) -> tuple[Block, ...]:
    """A line for each added system, and the table of differences over all test items where it was compared."""
    blocks: list[Block] = []
    for name in run.added_systems:
        blocks.append(Text(f"{name}: {run.systems[name].get('made_by', 'not known how it was made')}."))
        blocks += with_rows([differences(run, name)])
    return tuple(blocks)


def differences(run: RunFolder, name: str) -> Table:
    """What the run has trained minus an added system, over all test items; no rows where they were not compared."""
    last = ["", *run.own_systems][-1]
    return replace(change_table(run, name, last), title=f"{run.label(last)} minus {name}")
