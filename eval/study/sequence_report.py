"""The figures and the document of a study that has a sequence of tasks and no arms."""

from data.errors import InputError
from eval.report.blocks import Block, Document, Section, Sentences, Table
from eval.report.wording import Metric
from eval.run_folder import Json, results_by_corpus
from eval.study.cells import check_target, metrics_of, with_interval
from eval.study.estimates import method_words
from eval.study.points import StudyFolder
from eval.study.sequence import learned_sequences, sequence_figures
from eval.study.sequence_tables import sequence_tables


def sequence_summary(study: StudyFolder, target: str, resamples: int, seed: int) -> Json:
    """Every figure. Raises InputError for a `target` that is no score, and where no recipe has learned all tasks."""
    check_target(target)
    sequence = sequence_figures(study.sequence, target, resamples, seed)
    if sequence is None:
        raise InputError(
            f"{study.path / 'sequence'}: no recipe has results on all tasks after all of them; run the study again"
        )
    seeds = sorted({number for row in sequence["recipes"] for number in row["seeds"]})
    summary = {
        "target": target,
        "seeds": seeds,
        "resamples": resamples,
        "intervals": method_words(len(seeds)),
        "rewarded": sorted({name for one in study.sequence for name in one["target"].get("rewarded", ())}),
        "tests": {task: test_facts(study, task, target) for task in sequence["tasks"]},
        "checkpoints": [],
        "sequence": sequence,
        **learned_sequences(study.sequence, resamples, seed),
    }
    return {"conclusions": recipe_sentences(summary), **summary}


def test_facts(study: StudyFolder, task: str, target: str) -> Json:
    """The size of a task's test set, and the signature of the target on each of its corpora."""
    results = next(one["target"] for one in study.sequence if one["task"] == task)
    by_corpus = results_by_corpus(results).values()
    signatures = (one.get("signatures", {}).get(target, "") for one in by_corpus)
    return {
        "n": sum(len(one["items"]) for one in by_corpus),
        "signatures": [*dict.fromkeys(filter(None, signatures))],
    }


def recipe_sentences(summary: Json) -> list[str]:
    """What each recipe ends with, the best mean first."""
    metric = target_metric(summary)
    tasks = len(summary["sequence"]["tasks"])
    return [
        f"{row['recipe']}: after {tasks} tasks their mean {metric.label} is {metric.value(row['accuracy']['value'])}, the backward "
        f"transfer {with_interval(metric, row['backward'])}, the forward transfer {with_interval(metric, row['forward'])}."
        for row in by_mean(summary)
    ]


def by_mean(summary: Json) -> list[Json]:
    """The recipes, the one with the best mean at the end first."""
    better = target_metric(summary).better
    return sorted(summary["sequence"]["recipes"], key=lambda row: -better * row["accuracy"]["value"])


def target_metric(summary: Json) -> Metric:
    """The metric that the figures are about."""
    (metric,) = metrics_of(summary, [summary["target"]])
    return metric


def sequence_document(study: StudyFolder, summary: Json, configuration: tuple[Block, ...]) -> Document:
    """The whole report as a document; it has no verdict, as nothing is chosen."""
    metric = target_metric(summary)
    best = by_mean(summary)[0]
    seeds = ", ".join(map(str, summary["seeds"]))
    tests = Table(
        "Test sets",
        ("Task", "Items", f"Signature of {metric.label}"),
        tuple(
            (task, str(one["n"]), ", ".join(one["signatures"]) or "-")
            for task, one in summary["tests"].items()
        ),
    )
    return Document(
        f"Study {study.path.resolve().name}",
        f"{best['recipe']} has the best mean {metric.label} at the end, {metric.value(best['accuracy']['value'])}, over "
        f"{len(summary['sequence']['tasks'])} tasks learned one after the other (seeds: {seeds}).",
        ("No arms: this study has a sequence of tasks alone.",),
        (
            Section("Sequence", (*sequence_tables(summary), tests)),
            Section("All conclusions in words", (Sentences(tuple(summary["conclusions"])),), is_folded=True),
            Section("Configuration", configuration, is_folded=True),
        ),
    )
