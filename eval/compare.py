"""`python -m eval.compare RUN RUN ...`: several runs on one page, each against the first: settings that differ, scores
with paired intervals, tax, cost.

Only items that all runs were tested on count. Nothing is written into a run folder, but one of an earlier version gets its
present names.
"""

import argparse
import sys
from collections.abc import Sequence

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.console import say
from data.documents import user_path
from data.errors import InputError, run_command
from eval.metrics.significance import RESAMPLES
from eval.report.choice import ComparedSystem
from eval.report.compare import comparison_document
from eval.report.html import html_page
from eval.report.markdown import markdown
from eval.run_folder import DAMAGE, Json, RunFolder, read_run, references_of
from eval.systems import check_documents, compare_systems, metrics, rank_systems
from grpo.runtime.old_folders import update_names


def compared_name(run: RunFolder, system: str) -> str:
    """The system of a run that is compared: the one asked for, else the last that the run made. Raises InputError."""
    own = run.main.own_systems
    if not own:
        raise InputError(f"{run.path}: {why_nothing(run)}")
    if system and system not in run.main.systems:
        raise InputError(
            f"{run.path}: no system {system!r}; it has {', '.join(run.main.systems)} (--system NAME)"
        )
    return system or own[-1]


def why_nothing(run: RunFolder) -> str:
    """The end of a sentence about a folder without results: what it is, and what to do."""
    path = run.path.resolve()
    if "model_type" in run.config:
        own = f" {run.path.parent}" if (path.parent / "config.json").is_file() else ""
        return f"is the folder of a model; give the run folder{own} that it comes from"
    if path.parents[1].name == "arms":
        return "is an arm of a study, whose report compares its arms: semantic-grpo study --config STUDY.toml --only report"
    return "has no evaluated model; run its stage eval first"


def common_tests(runs: Sequence[RunFolder], system: str) -> list[str]:
    """The test sets on which all runs have results, the own one ("") first. Raises InputError where there is none."""
    by_run = [
        {test for test, view in run.views.items() if compared_name(run, system) in view.systems}
        for run in runs
    ]
    common = [test for test in runs[0].views if all(test in tests for tests in by_run)]
    if not common:
        raise InputError(f"{names_of(runs)}: no test set has results of all; compare runs on the same one")
    return common


def names_of(runs: Sequence[RunFolder]) -> str:
    return " and ".join(str(run.path) for run in runs)


def check_same_set(first: RunFolder, other: RunFolder, test: str) -> None:
    """InputError where the manifests say that the two runs have different test sets."""
    part = f"tests.{test}" if test else "test"
    hashes = [
        run.corpus.get("manifest", {}).get("splits", {}).get(part, {}).get("sha256") for run in (first, other)
    ]
    if None not in hashes and hashes[0] != hashes[1]:
        raise different(first, other, test, "their corpora were split differently")


def different(first: RunFolder, other: RunFolder, test: str, why: str) -> InputError:
    return InputError(
        f"{other.path}: another test set{f' {test}' if test else ''} than {first.path} ({why}); compare runs that "
        "were tested on the same items"
    )


def texts_of(item: Json) -> tuple[str, tuple[str, ...]]:
    return item["source"], tuple(references_of(item))


def with_ids_of(first: Json, other: Json) -> Json:
    """`other` with the ids of the first system where all texts are the same: an id holds the name of the corpus file."""
    mine, theirs = (sorted(system["items"], key=texts_of) for system in (first, other))
    if [*map(texts_of, mine)] != [*map(texts_of, theirs)]:
        return other
    return other | {"items": [item | {"id": own["id"]} for own, item in zip(mine, theirs, strict=True)]}


def shared_items(runs: Sequence[RunFolder], systems: Sequence[Json], test: str) -> list[str]:
    """The ids of the items that all systems have, sorted. Raises InputError for different test sets."""
    texts = [{item["id"]: texts_of(item) for item in one["items"]} for one in systems]
    for run, system, own in zip(runs[1:], systems[1:], texts[1:], strict=True):
        if own != texts[0]:
            check_same_set(runs[0], run, test)
        if system["target_language"] != systems[0]["target_language"]:
            raise different(runs[0], run, test, "another target language")
        changes = [key for key in own if key in texts[0] and own[key] != texts[0][key]]
        if changes:
            raise different(runs[0], run, test, f"item {changes[0]} has other texts")
        if not own.keys() & texts[0].keys():
            raise different(runs[0], run, test, "no item is in both")
    ids = set(texts[0]).intersection(*texts[1:])
    if not ids:
        raise InputError(f"{names_of(runs)}: no test item is in all; compare them two by two")
    return sorted(ids)


def on_items(system: Json, ids: Sequence[str], name: str) -> Json:
    """A system on these items alone, called `name`."""
    by_id = {item["id"]: item for item in system["items"]}
    items = [by_id[key] for key in ids]
    own = {"items": items, "system": name, "metrics": {"all": metrics(items, system["target_language"])}}
    return system | own


def compare_on(
    runs: Sequence[RunFolder], names: Sequence[str], test: str, system: str, resamples: int, by_document: bool
) -> list[ComparedSystem]:
    """Each run on the shared items of a test set, with its change against the first, and its rank by each metric."""
    views = [run.views[test] for run in runs]
    systems = [view.systems[compared_name(run, system)] for run, view in zip(runs, views, strict=True)]
    try:
        systems = [with_ids_of(systems[0], one) for one in systems]
        ids = shared_items(runs, systems, test)
        own = [on_items(one, ids, name) for one, name in zip(systems, names, strict=True)]
        seed = int(runs[0].config.get("seed", 0))
        changes = [compare_systems(own[0], one, seed, resamples, by_document=by_document) for one in own[1:]]
        by_metric = rank_systems(own, seed, resamples, by_document=by_document)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{names_of(runs)}: a result is damaged ({error}); evaluate again") from error
    ranks = {name: {metric: by_name[name] for metric, by_name in by_metric.items()} for name in names}
    return [
        ComparedSystem(name, run, compared_name(run, system), one, change, ranks[name])
        for run, name, one, change in zip(runs, names, own, [None, *changes], strict=True)
    ]


def short_names(runs: Sequence[RunFolder]) -> list[str]:
    """The last part of each path by which all differ, as 'grpo16/seed0'."""
    parts = [run.path.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{runs[0].path}: is named twice; name different runs")


def work(options: argparse.Namespace) -> None:
    if len(options.runs) < 2:
        raise InputError("name two runs or more; the others are compared with the first")
    if options.resamples < 1:
        raise InputError(f"--resamples {options.resamples}: a number from 1 is needed")
    folders = [user_path(path) for path in options.runs]
    for folder in folders:
        update_names(folder)
    runs = [read_run(folder) for folder in folders]
    names = short_names(runs)
    by_document = options.by == "document"
    if by_document:
        own = (
            system["items"] for run in runs for view in run.views.values() for system in view.systems.values()
        )
        check_documents(own, "--by document")
    tests = {
        test: compare_on(runs, names, test, options.system, options.resamples, by_document)
        for test in common_tests(runs, options.system)
    }
    document = comparison_document(tests)
    if options.html:
        atomic_write_text(user_path(options.html), html_page(document))
    say(markdown(document))


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.compare", description="Compare runs on the test items that they share."
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders; all are compared with the first")
    parser.add_argument("--html", metavar="FILE", help="also write the page as HTML")
    parser.add_argument(
        "--system", default="", help="the system of each run (default: the last that the run has trained)"
    )
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help=f"of the bootstrap (default: {RESAMPLES:,})"
    )
    parser.add_argument(
        "--by",
        choices=("item", "document"),
        default="item",
        help="what is drawn at random: items, or documents (an item's id up to '#') where items of one are alike",
    )
    options = parser.parse_args(argv)
    return run_command(lambda: work(options))


if __name__ == "__main__":
    sys.exit(main())
