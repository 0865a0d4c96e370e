"""Says what a run lacks: stages, systems, probes, files, and test items that the corpus was too small for."""

from collections.abc import Mapping
from typing import Any

from eval.report.corpus_tables import PARTS
from eval.report.picture import gain_against_tax
from eval.report.wording import place_label
from eval.run_folder import OPTIONAL, SYSTEMS, RunFolder

NO_PICTURE = "No picture of gain against tax: it needs probes of the untouched model and of a trained one."


def gaps(run: RunFolder) -> tuple[str, ...]:
    """What this run does not have, one sentence each."""
    run = run.main
    stages = (("warm start (SFT)", run.sft), (run.method, run.train))
    sentences = [
        f"No {name} metrics: this stage did not run, or its metrics are missing."
        for name, rows in stages
        if not rows
    ]
    missing = [run.label(name) for name in SYSTEMS if name not in run.systems and name not in OPTIONAL]
    if missing:
        sentences.append(f"Not evaluated: {', '.join(missing)}.")
    if run.pair("warm_start", "trained") is None:
        sentences.append(f"{run.method} was not compared with the warm start.")
    if not any("probes" in system for system in run.systems.values()):
        reasons = sorted(
            {
                system["probes_unavailable"]
                for system in run.systems.values()
                if "probes_unavailable" in system
            }
        )
        sentences.append(f"No general-competence probes{': ' + '; '.join(reasons) if reasons else ''}.")
    if gain_against_tax(run) is None:
        sentences.append(NO_PICTURE)
    sentences += [
        f"No {name}.json." for name in ("corpus", "environment", "timings") if not getattr(run, name)
    ]
    return (*sentences, *missing_test_items(run.config.get("data", {}), run.corpus))


def missing_test_items(settings: Mapping[str, Any], corpus: Mapping[str, Any]) -> list[str]:
    """Whether the test set is smaller than `data.test_size`, or a language has less than its minimum in it.

    The data stage takes at most a fifth of the pairs, and of each language's pairs, for the test set.
    """
    splits = corpus.get("manifest", {}).get("splits", {})
    # a file of one's own is taken whole
    if "test" not in splits or settings.get("test") or settings.get("corpora"):
        return []
    sentences = []
    size = splits["test"]["pairs"]
    wish = settings.get("test_size", 0)
    if size < wish:
        sentences.append(
            f"The test set has {size} of the {wish} items of data.test_size: the corpus is too small."
        )
    counts = splits["test"]["languages"]
    own = [split for name, split in splits.items() if name in PARTS]
    languages = sorted({language for split in own for language in split["languages"]})
    minimum = min(settings.get("test_min_per_language", 0), wish // max(1, len(languages)))
    few = [
        f"{place_label(language)} has {counts.get(language, 0)}"
        for language in languages
        if counts.get(language, 0) < minimum
    ]
    if few:
        sentences.append(
            f"Fewer than {minimum} test items of a language (data.test_min_per_language): {', '.join(few)}."
        )
    return sentences
