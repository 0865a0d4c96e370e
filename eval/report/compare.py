"""The page that compares several runs, made of the blocks of a run's report: each run against the first."""

from collections.abc import Mapping, Sequence

from eval.report.blocks import Document, Section, Sentences, Table, with_rows
from eval.report.brackets import bracket_notes, marked_metrics
from eval.report.changes import probe_changes, score_changes
from eval.report.choice import ComparedSystem, choice, comparable, numbers, reasons, shared_facts
from eval.report.findings import change_sentence
from eval.report.learned import learned_metrics, learned_notes
from eval.report.ranks import metrics_with_a_better_side, rank_table
from eval.report.tables import (
    RANDOMISATION_NOTE,
    difference_table,
    finite_series,
    flatten,
    phase_seconds,
    result_cells,
    result_header,
    signature_notes,
)
from eval.report.wording import (
    ABSENT,
    ALL,
    MAIN_METRICS,
    METRICS,
    PROBES,
    TAX,
    are_too_few,
    duration,
    plain_number,
)
from eval.run_folder import Json, RunFolder
from grpo.old_names import ADDED, current_keys

IGNORED = ("run_dir",)  # differs between any two runs
NOTE = (
    "Paired bootstrap over the shared test items, percentile interval; corpus metrics recomputed for each resample. It "
    "does not cover training again. No correction for the number of comparisons."
)


Tests = Mapping[str, Sequence[ComparedSystem]]  # by test set, "" = the own one; in the order of the runs


def comparison_document(tests: Tests) -> Document:
    """The whole page."""
    test, first = next(iter(tests.items()))
    names = [one.name for one in first]
    which = "; ".join(f"{one.name}: {one.run.label(one.key)}" for one in first)
    settings = settings_table(first)
    tax = tax_table(first, tests)
    text, best, tone = choice(first)
    sentences = (f"{which}.", *(verdict(candidates, test) for test, candidates in tests.items()))
    sections = (
        Section("What changed", (Sentences(sentences),)),
        Section("Settings that differ", (settings,) if settings.rows else ()),
        *(score_section(test, candidates) for test, candidates in tests.items()),
        Section("Tax", (tax,) if tax.rows else ()),
        Section("Cost", (cost_table(first),)),
    )
    return Document(
        f"{names[0]} and {', '.join(names[1:])}",
        text,
        (),
        tuple(section for section in sections if section.blocks),
        reasons=reasons(first, best, test),
        tone=tone,
        numbers=numbers(first, best),
    )


def verdict(candidates: Sequence[ComparedSystem], test: str) -> str:
    """What changed against the first run in the main metrics that can be compared, run by run."""
    first, *others = candidates
    count = len(first.system["items"])
    few = " (too few to read anything from)" if are_too_few(count) else ""
    sentences = [f"On {count:,} shared items{f' of {test}' if test else ''}{few}, against {first.name}."]
    for other in others:
        same = comparable(first, other)
        metrics = [one for one in METRICS if one.key in MAIN_METRICS and one.key in same]
        changes = score_changes(other.change["slices"], metrics=metrics) if other.change else []
        parts = map(change_sentence, changes)
        sentences.append(f"{other.name}: {' '.join(parts)}")
    return " ".join(sentences)


def rewarded_of(candidates: Sequence[ComparedSystem]) -> frozenset[str]:
    """The scores, learned metrics aside, that the training of any run optimised."""
    return frozenset().union(*(one.rewarded for one in candidates))


def learned_scores(candidates: Sequence[ComparedSystem]) -> Table:
    """Each run by every learned metric that all have; no rows without one."""
    facts = shared_facts(candidates)
    metrics = learned_metrics(facts)
    rows = tuple(
        (one.name, *(metric.value(one.system["metrics"]["all"][metric.key]) for metric in metrics))
        for one in (candidates if metrics else ())
    )
    header = ("Run", *(metric.label for metric in metrics))
    return Table("Learned metrics on the shared items", header, rows, learned_notes(facts))


def score_section(test: str, candidates: Sequence[ComparedSystem]) -> Section:
    """The scores of all, and each minus the first with intervals."""
    rows = tuple((one.name, *result_cells(one.system["metrics"]["all"])) for one in candidates)
    systems = {one.name: one.system for one in candidates}
    rewarded = rewarded_of(candidates)
    notes = (*bracket_notes(rewarded), *signature_notes(systems))
    first, *others = candidates
    tables = (
        Table("Scores on the shared items", result_header("Run", rewarded), rows, notes),
        learned_scores(candidates),
        shared_ranks(candidates),
        *(differences(first, other) for other in others),
    )
    return Section(f"Test set {test}" if test else "Scores", with_rows(tables))


def differences(first: ComparedSystem, other: ComparedSystem) -> Table:
    """A run minus the first, by every metric that means the same in both."""
    pair = (first, other)
    same = comparable(*pair)
    labels = ", ".join(metric.label for metric in METRICS if metric.key not in same)
    notes = (NOTE, RANDOMISATION_NOTE, f"Not compared, as their signatures differ: {labels}.")
    all_metrics = [*marked_metrics(rewarded_of(pair)), *learned_metrics(shared_facts(pair))]
    metrics = [metric for metric in all_metrics if metric.key in same]
    title = f"{other.name} minus {first.name}"
    return difference_table(title, other.change, [ALL], metrics, notes if labels else notes[:2])


def shared_ranks(candidates: Sequence[ComparedSystem]) -> Table:
    """The rank of each run by the metrics that mean the same in all and have a better side."""
    first, *others = candidates
    same = [set(comparable(first, other)) for other in others]
    metrics = [
        one
        for one in metrics_with_a_better_side(shared_facts(candidates), rewarded_of(candidates))
        if all(one.key in keys for keys in same)
    ]
    ranks = {one.key: {own.name: own.ranks[one.key] for own in candidates} for one in metrics}
    names = {one.name: one.name for one in candidates}
    return rank_table("Ranks, 1 = the best", "Run", names, ranks, metrics)


def settings_table(candidates: Sequence[ComparedSystem]) -> Table:
    """The settings that are not the same in all runs; those of earlier versions with the values they had."""
    added = {key: text for key, value in ADDED.items() for _, text in flatten(value)}
    settings = [added | current_keys(dict(flatten(one.run.config))) for one in candidates]
    keys = [key for key in dict.fromkeys(key for one in settings for key in one) if key not in IGNORED]
    rows = [(key, *(one.get(key, ABSENT) for one in settings)) for key in keys]
    differing = tuple(row for row in rows if len(set(row[1:])) > 1)
    return Table("Settings", ("Setting", *(one.name for one in candidates)), differing)


def tax_table(candidates: Sequence[ComparedSystem], tests: Tests) -> Table:
    """What each run's model lost elsewhere: its probes against its own untouched model, what its log measured last, and
    its probes against the first run's.
    """
    runs = [one.run for one in candidates]
    names = [one.name for one in candidates]
    between = {
        one.name: probe_cells(one.change)
        for systems in tests.values()
        for one in systems
        if one.change and one.change["probes"]
    }
    columns = [probe_cells(one.run.main.pair("untouched", one.key)) for one in candidates]
    columns += between.values()
    rows = [
        (label, *(column.get(label, ABSENT) for column in columns))
        for _, label, _ in PROBES
        if any(label in column for column in columns)
    ]
    if any(run.tax for run in runs):
        last = [logged_tax(run) if run.tax else ABSENT for run in runs]
        rows.append(("Tax in the log, nats per token", *last, *(ABSENT for _ in between)))
    header = (
        "Probe",
        *(f"untouched \u2192 {name}" for name in names),
        *(f"{names[0]} \u2192 {name}" for name in between),
    )
    return Table("General competence", header, tuple(rows))


def logged_tax(run: RunFolder) -> str:
    """'0.0100 over the warm start': the last tax in the log, and the model that it is counted from."""
    against = run.config.get("tax", {}).get("against", "warm_start")
    model = {"untouched": "untouched model", "warm_start": "warm start"}[against]
    return f"{TAX.value(run.tax[-1]['tax_kept'])} over the {model}"


def probe_cells(pair: Json | None) -> dict[str, str]:
    """The change of each probe between two systems by its label; empty where it was not measured."""
    return {change.label: change.cell for change in probe_changes(pair)}


def cost_table(candidates: Sequence[ComparedSystem]) -> Table:
    """Seconds, tokens and memory of each run; what a run began from elsewhere, such as an arm of a study from a warm
    start, is not in it.
    """
    runs = [one.run for one in candidates]
    rows = (
        ("All stages", *(duration(sum(run.timings.get("stages", {}).values())) for run in runs)),
        ("Steps of the warm start", *(step_time(run.sft) for run in runs)),
        ("Steps of the training after it", *(step_time(run.train) for run in runs)),
        ("Tokens trained on", *(plain_number(round(trained_tokens(run))) for run in runs)),
        ("Tokens sampled", *(plain_number(round(sampled_tokens(run))) for run in runs)),
        ("Peak memory", *(memory(run) for run in runs)),
        ("Device", *(str(run.environment.get("device", ABSENT)) for run in runs)),
    )
    note = "Without a part that a run did not do itself, such as the warm start of a study's arm."
    return Table("Cost", ("", *(one.name for one in candidates)), rows, (note,))


def step_time(rows: Sequence[Json]) -> str:
    """Number and seconds of the steps of a stage."""
    return f"{len(rows)} in {duration(phase_seconds(rows).get('step', 0.0))}" if rows else ABSENT


def trained_tokens(run: RunFolder) -> float:
    """Tokens of the passes that have a backward pass, a prompt once for its group, without general texts."""
    rollout = run.config.get("rollout", {})
    completions = rollout.get("num_prompts", 0) * rollout.get("group_size", 0)
    passes = run.config.get("train", {}).get("passes", 1)
    after = [
        float(row["fed_tokens"] * completions)
        if "fed_tokens" in row
        else float(row["trained_tokens"] if "trained_tokens" in row else row["tokens"])
        for row in run.train
        if "tokens" in row
    ]
    return float(sum(finite_series(run.sft, "tokens")[1]) + passes * sum(after))


def sampled_tokens(run: RunFolder) -> float:
    """Tokens of the completions that were sampled in training."""
    rows = [row for row in run.train if "trained_tokens" in row]
    return float(sum(row["sampled_tokens"] if "sampled_tokens" in row else row["tokens"] for row in rows))


def memory(run: RunFolder) -> str:
    peak = run.timings.get("peak_memory_bytes")
    return ABSENT if peak is None else f"{peak / 2**30:.2f} GiB"
