"""The tables of a run's report, each a function of the run folder's contents."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from data.language_names import short_name
from data.script import script_of, unit_name
from eval.forgetting.collections import shared_words
from eval.forgetting.languages import foreign_note
from eval.report.blocks import Table, table_of
from eval.report.brackets import bracket_notes, marked_metrics, rewarded_scores
from eval.report.changes import Change, probe_changes, score_changes
from eval.report.wording import (
    ABSENT,
    ALL,
    MAIN_METRICS,
    METRICS,
    MIN_ITEMS,
    PROBES,
    SHARE,
    Metric,
    duration,
    place_label,
    plain_number,
    share_of_resamples,
)
from eval.run_folder import Json, RunFolder, questions_of

NEWER = tuple(metric.key for metric in METRICS if metric.newer)
SCORE_NOTES = (
    "Cosine: to the reference text, by the encoder in its signature. Training optimised it where that encoder also gave "
    "the reward.",
    "Held-out cosine is by an encoder that gave no reward. Training optimised chrF and BLEU only where [reward] names them.",
    "Length ratio: units of the outputs / units of the reference texts.",
    "Of several reference texts of an item the best one counts. BLEU uses all, and the length nearest to the output's, "
    "as the length ratio does.",
    "ROUGE-L: mean F1 of the longest common subsequence of units (syllables, Han characters or words).",
    "Copies: outputs of which half or more is copied from the source in runs of 6 units (10 characters), beyond what the "
    "reference text copies.",
)

MACRO_NOTE = (
    "Macro average over the corpora: items are drawn inside each corpus, and the corpora are taken as given. n: items of "
    "the smallest corpus."
)
RANDOMISATION_NOTE = "p, randomisation: how often a difference as large appears when the two outputs change sides at random; two-sided."


def result_header(first: str, rewarded: Collection[str]) -> tuple[str, ...]:
    """The header of a table of `result_cells`."""
    return (first, "n", *(metric.label for metric in marked_metrics(rewarded)))


def result_cells(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """n and every metric as text."""
    values = [
        metric.value(None if metric.newer and metric.key not in metrics else metrics[metric.key])
        for metric in METRICS
    ]
    return (plain_number(metrics["n"]), *values)


def signature_notes(systems: Mapping[str, Json]) -> tuple[str, ...]:
    """The signature of each metric, by system only where systems differ."""
    notes = []
    for key in ("cosine", "cosine_held_out", "chrf", "bleu", *NEWER):
        by_system = {name: system["signatures"] for name, system in systems.items()}
        signatures = {name: own[key] for name, own in by_system.items() if key in own or key not in NEWER}
        if len(set(signatures.values())) == 1:
            notes.append(f"{key}: {next(iter(signatures.values()))}")
        else:
            notes += [f"{key} of {name}: {signature}" for name, signature in signatures.items()]
    return tuple(notes)


def overall_table(run: RunFolder, title: str = "Results on the test set") -> Table:
    """One row for each evaluated system over a whole test set."""
    rows = tuple(
        (run.label(name), *result_cells(system["metrics"]["all"])) for name, system in run.systems.items()
    )
    languages = {system["target_language"] for system in run.systems.values()}
    units = tuple(
        f"Units of {short_name(language)}: {unit_name(script_of(language))}."
        for language in sorted(languages)
    )
    rewarded = rewarded_scores(run.config)
    notes = (*bracket_notes(rewarded), *SCORE_NOTES, *units, *signature_notes(run.systems))
    return Table(title, result_header("System", rewarded), rows, notes)


def language_table(run: RunFolder) -> Table:
    """How many outputs of each system an identifier takes for the target language; no rows where none was asked."""
    facts = {name: system["language"] for name, system in run.systems.items() if "language" in system}
    rows = (
        {
            "System": run.label(name),
            "n": plain_number(own["outputs"]),
            "In the target language": SHARE.value(own["outputs_share"]),
            "Reference texts": SHARE.value(own["references_share"]),
        }
        for name, own in facts.items()
    )
    notes = [
        f"By {own['identifier']}: probability of the language at least {own['threshold']:.3f}; texts of three units or more. "
        "The reference texts show how many true texts it refuses."
        for own in facts.values()
    ]
    return table_of("Language of the outputs", rows, notes[:1])


def slice_names(run: RunFolder, origins: bool) -> list[str]:
    """The languages, or the origins, that any system was evaluated on."""
    names = {name for system in run.systems.values() for name in system["metrics"] if name != "all"}
    return sorted(name for name in names if is_origin(name) == origins)


def is_origin(name: str) -> bool:
    """Whether a slice is an origin, not a language."""
    return name.startswith("origin:")


def slice_table(run: RunFolder, title: str, origins: bool) -> Table:
    """Every system on every language, or on every origin."""
    rows = tuple(
        (f"{place_label(name)}: {run.label(key)}", *result_cells(system["metrics"][name]))
        for name in slice_names(run, origins)
        for key, system in run.systems.items()
        if name in system["metrics"]
    )
    return Table(title, result_header("System", rewarded_scores(run.config)), rows)


def change_table(run: RunFolder, before: str, after: str) -> Table:
    """after - before of every metric with 95 % intervals; no rows where the two were not compared."""
    pair = run.pair(before, after)
    metrics = marked_metrics(rewarded_scores(run.config))
    notes = change_notes(run) if pair else ()
    return difference_table("Change over the whole test set", pair, [ALL], metrics, notes)


def change_notes(run: RunFolder) -> tuple[str, ...]:
    """How a run's comparisons were made."""
    notes = (
        f"Paired bootstrap over {drawn_units(run)}, {plain_number(run.comparison['resamples'])} resamples, percentile "
        "interval; corpus metrics are computed anew for each resample.",
        RANDOMISATION_NOTE,
        f"No correction for the number of comparisons. Nothing is read from fewer than {MIN_ITEMS} items.",
    )
    return (*notes, MACRO_NOTE) if "corpora" in run.comparison else notes


def change_tables_of_parts(run: RunFolder, before: str, after: str) -> list[Table]:
    """The same of the main metrics, by source language and by origin."""
    pair = run.pair(before, after)
    parts = [name for name in (pair["slices"] if pair else ()) if name != ALL]
    main = [one for one in marked_metrics(rewarded_scores(run.config)) if one.key in MAIN_METRICS]
    languages = [name for name in parts if not is_origin(name)]
    return [
        difference_table("Change by source language", pair, languages, main),
        difference_table("Change by origin", pair, list(filter(is_origin, parts)), main),
    ]


def drawn_units(run: RunFolder) -> str:
    """What an interval draws at random."""
    return "documents of the test set" if run.comparison.get("by") == "document" else "test items"


def difference_table(
    title: str,
    pair: Json | None,
    places: Sequence[str],
    metrics: Sequence[Metric],
    notes: tuple[str, ...] = (),
) -> Table:
    """One row for each place and metric of a comparison; no rows without one."""
    slices = pair["slices"] if pair else {}
    changes = [
        (place, change) for place in places if pair for change in score_changes(slices, place, metrics)
    ]
    return table_of(title, (difference_cells(*one) for one in changes), notes)


def difference_cells(place: str, change: Change) -> dict[str, str]:
    """One row of the table of differences; a part of the test set is named in front of the metric."""
    facts = change.facts
    p = facts.get("p_randomised")
    return {
        "Metric": change.label if place == ALL else f"{place_label(place)}: {change.label}",
        "n": plain_number(facts["n"]),
        "Before": change.metric.value(facts["before"]),
        "After": change.metric.value(facts["after"]),
        "Change": change.change,
        "95 % interval": change.interval,
        "p(change \u2264 0)": share_of_resamples(facts["p_not_greater"]),
        "p, randomisation": ABSENT if p is None else share_of_resamples(p),
        "Reading": change.reading,
    }


def probe_values(probes: Json) -> dict[str, tuple[float, int]]:
    """The figure and n of each row of the probe table; results of earlier versions have fewer."""
    texts = {name: (probes[name]["bits_per_character"], probes[name]["n"]) for name in ("english", "chinese")}
    keys = ("accuracy", "accuracy_per_character")
    return texts | {
        f"{name}_{key}": (probes[name][key], probes[name]["n"])
        for name in questions_of(probes)
        for key in keys
    }


def probe_pairs(run: RunFolder) -> list[Json]:
    """The comparisons that have probes on both sides, those with the untouched model first."""
    pairs = [pair for pair in run.comparison.get("pairs", ()) if pair["probes"]]
    return sorted(pairs, key=lambda pair: pair["before"] != "untouched")


def probe_table(run: RunFolder, system: str = "") -> Table:
    """General competence of every probed system, and its changes: in all comparisons, or only from the untouched model to
    `system`.
    """
    pairs = probe_pairs(run)
    if system:
        pairs = [pair for pair in pairs if (pair["before"], pair["after"]) == ("untouched", system)]
    probe_results = {
        name: probe_values(system["probes"]) for name, system in run.systems.items() if "probes" in system
    }
    short: dict[str, str] = {
        "untouched": "untouched",
        "warm_start": "warm start",
        "trained_best": "best on dev",
        "trained": run.method,
    }
    short |= {name: name for name in run.added_systems}
    change_headers = (f"{short[pair['before']]} \u2192 {short[pair['after']]}" for pair in pairs)
    changes = [{change.label: change.cell for change in probe_changes(pair)} for pair in pairs]
    header = ("Probe", "n", *(run.label(name) for name in probe_results), *change_headers)
    rows = []
    for key, label, metric in PROBES:
        cells = [result.get(key) for result in probe_results.values()]
        count = next((cell[1] for cell in cells if cell), None)
        if count is not None:
            values = (metric.value(cell and cell[0]) for cell in cells)
            rows.append((label, plain_number(count), *values, *(one.get(label, ABSENT) for one in changes)))
    chances = {
        name: system["probes"][name]["chance"]
        for system in run.systems.values()
        for name in questions_of(system.get("probes", {}))
    }
    notes = (
        f"Questions: exact McNemar test; chance {', '.join(f'{100 * chance:.0f} % ({name})' for name, chance in chances.items())}.",
        "Bits per character: held-out news, lower is better; change with 95 % interval (paired bootstrap over texts).",
        *filter(None, [shared_words(run.config), foreign_note(run.config)]),
    )
    return Table("General competence before and after", header, tuple(rows), notes)


def finite_series(rows: Sequence[Json], key: str) -> tuple[list[int], list[float]]:
    """(steps, values) of a metric where it is a finite number."""
    pairs = [
        (row["step"], float(row[key])) for row in rows if is_number(row.get(key)) and math.isfinite(row[key])
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def is_number(value: Any) -> bool:
    """A JSON number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def training_table(title: str, rows: Sequence[Json]) -> Table:
    """Each logged metric at the start and at the end of a stage: means over the first and the last tenth of
    its steps.
    """
    keys = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if key not in ("stage", "step", "seconds")
    ]
    cells = []
    for key in keys:
        _, values = finite_series(rows, key)
        if values:
            tenth = max(1, len(values) // 10)
            summary = (sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth, min(values), max(values))
            cells.append((key, *map(plain_number, summary)))
    note = f"{len(rows)} steps; start and end are means over the first and the last tenth of them."
    return Table(title, ("Metric", "Start", "End", "Lowest", "Highest"), tuple(cells), (note,))


def time_table(run: RunFolder) -> Table:
    """Seconds of each stage, and inside training of each phase."""
    rows = [(name, duration(seconds), ABSENT) for name, seconds in run.timings.get("stages", {}).items()]
    for stage, steps in (("sft", run.sft), ("train", run.train)):
        for phase, total in phase_seconds(steps).items():
            rows.append(
                (
                    f"{stage}: {'all phases' if phase == 'step' else phase}",
                    duration(total),
                    duration(total / len(steps)),
                )
            )
    memory = run.timings.get("peak_memory_bytes")
    of = "" if run.environment.get("device_type", "cpu") == "cpu" else " of the accelerator"
    notes = () if memory is None else (f"Peak memory{of}: {memory / 2**30:.2f} GiB",)
    return Table("Time", ("Stage or phase", "Total", "Per step"), tuple(rows), notes)


def phase_seconds(rows: Sequence[Json]) -> dict[str, float]:
    """Total seconds of each phase over the steps of a stage."""
    totals: dict[str, float] = {}
    for row in rows:
        for phase, seconds in row.get("seconds", {}).items():
            totals[phase] = totals.get(phase, 0.0) + seconds
    return totals


def flatten(document: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted key, value) rows; lists of plain values stay on one row."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(document, list) and any(isinstance(value, dict | list) for value in document):
        for index, value in enumerate(document):
            yield from flatten(value, f"{prefix}[{index}]")
    else:
        yield prefix, ABSENT if document in ({}, []) else plain_number(document)


def key_value_table(title: str, document: Json) -> Table:
    """Any JSON object as a two-column table."""
    return Table(title, ("Key", "Value"), tuple(flatten(document)))
