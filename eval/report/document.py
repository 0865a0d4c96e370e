"""A run's report as a document: the answer first, then results, translations, curves, and the rest in closed sections."""

from collections.abc import Sequence

from eval.alarms import all_alarms, of_reward
from eval.report.added import added_blocks
from eval.report.blocks import Block, Document, Samples, Section, Sentences, Table, with_rows
from eval.report.corpus_tables import corpus_tables, manifest_tables
from eval.report.findings import findings
from eval.report.gaps import gaps
from eval.report.learned import learned_changes, learned_table
from eval.report.macro import macro_table
from eval.report.picture import gain_against_tax
from eval.report.plots import curves
from eval.report.ranks import run_ranks
from eval.report.samples import samples
from eval.report.tables import (
    change_table,
    change_tables_of_parts,
    key_value_table,
    language_table,
    overall_table,
    probe_table,
    slice_table,
    time_table,
    training_table,
)
from eval.report.transitions import transition_table
from eval.report.verdict import answer, numbers, reasons
from eval.run_folder import RunFolder


def report_document(run: RunFolder) -> Document:
    """The whole report."""
    text, tone = answer(run)
    return Document(
        f"Run {run.path.resolve().name}",
        text,
        gaps(run),
        tuple(section for section in sections(run) if section.blocks),
        alarms(run),
        reasons(run),
        tone,
        numbers(run),
        gain_against_tax(run),
    )


def sections(run: RunFolder) -> list[Section]:
    """What follows the first screen; inputs and small slices are folded."""
    pair = ("warm_start", "trained")
    cards = samples(run)
    return [
        Section(
            f"{run.method} minus warm start",
            with_rows([change_table(run, *pair), learned_changes(run, "trained")]),
        ),
        Section("Results", with_rows(result_tables(run))),
        Section("Added systems", added_blocks(run)),
        Section("General competence", with_rows([probe_table(run.main)])),
        Section("Samples", (Samples(cards),) if cards else ()),
        Section("Training curves", tuple(curves(run))),
        *(test_section(name, view) for name, view in run.tests.items()),
        closed_section("All findings in words", [Sentences(findings(run))]),
        closed_section(
            "By language and origin", with_rows([*slice_tables(run), *change_tables_of_parts(run, *pair)])
        ),
        closed_section("Questions lost and gained", with_rows([transition_table(run.main)])),
        closed_section("Training figures", training_tables(run)),
        closed_section("Corpus", corpus_tables(run.corpus)),
        closed_section("Time and memory", with_rows([time_table(run)])),
        closed_section("Corpus manifest", with_rows(manifest_tables(run.corpus))),
        closed_section("Configuration", with_rows([key_value_table("Settings of this run", run.config)])),
        closed_section("Environment", with_rows([key_value_table("Machine and versions", run.environment)])),
    ]


def closed_section(title: str, blocks: Sequence[Block]) -> Section:
    """A section that starts closed."""
    return Section(title, tuple(blocks), is_folded=True)


def result_tables(run: RunFolder) -> list[Table]:
    """Overall, on average over corpora, and the language of the outputs."""
    return [overall_table(run), learned_table(run), language_table(run), run_ranks(run), macro_table(run)]


def slice_tables(run: RunFolder) -> list[Table]:
    """Every system by source language and by origin."""
    return [
        slice_table(run, "By source language", origins=False),
        slice_table(run, "By origin", origins=True),
    ]


def test_section(name: str, view: RunFolder) -> Section:
    """The results on a further test set, and what training changed there."""
    tables = [
        overall_table(view, f"Results on {name}"),
        slice_table(view, "By source language", origins=False),
        learned_table(view),
        language_table(view),
        run_ranks(view),
        change_table(view, "warm_start", "trained"),
        *change_tables_of_parts(view, "warm_start", "trained"),
        learned_changes(view, "trained"),
    ]
    return Section(f"Test set {name}", (*with_rows(tables), *added_blocks(view)))


def training_tables(run: RunFolder) -> tuple[Block, ...]:
    """Start and end of every logged metric."""
    stages = (
        ("Warm start (SFT)", run.sft),
        (run.method, run.train),
        (f"Dev set during {run.method}", run.train_dev),
    )
    return with_rows([training_table(title, rows) for title, rows in stages if rows])


def alarms(run: RunFolder) -> tuple[str, ...]:
    """What went wrong in training, one sentence for each rule that rang."""
    stages = (("Warm start (SFT)", run.sft), (run.method, run.train))
    reward = run.config.get("reward", {})
    return tuple(
        f"{name}, {alarm.line()}." for name, rows in stages for alarm in all_alarms(of_reward(rows, reward))
    )
