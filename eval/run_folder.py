"""Reads a run folder for the report: plain JSON in, no model, no tensors.

A part that was never written (no training, no evaluation) is simply absent; a part that is there but
damaged is a mistake somebody must know about, and raises `InputError` with file and line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data.documents import parse_log_row, read_bytes, read_object
from data.errors import InputError

SYSTEMS = ("untouched", "translation_memory", "warm_start", "trained_best", "trained")
ADDED = "added_systems"  # in a run folder: what others wrote for its test sets, beside its own evaluation
OPTIONAL = ("trained_best",)  # only where an earlier step did better on the dev set than the last
SYSTEM_KEYS = ("system", "target_language", "signatures", "metrics", "items")
# that the samples of a report show
ITEM_KEYS = ("id", "origin", "source_language", "source", "output", "cosine")
DAMAGE = (  # what a value of the wrong kind has raised
    KeyError, TypeError, IndexError, AttributeError, ValueError, ArithmeticError,
)  # fmt: skip
Json = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """The contents of one run folder; what is not there is empty. `systems` is in the order of `SYSTEMS`, with the
    added ones behind them.
    """

    path: Path
    config: Json
    environment: Json
    corpus: Json
    timings: Json
    comparison: Json
    systems: Mapping[str, Json]
    sft: tuple[Json, ...]
    train: tuple[Json, ...]
    train_dev: tuple[Json, ...]
    tax: tuple[Json, ...]
    tests: Mapping[str, "RunFolder"] = field(default_factory=dict)  # this run on each further test set

    @property
    def views(self) -> dict[str, "RunFolder"]:
        """The run on each of its test sets by name; "" is its own one."""
        return {"": self, **self.tests}

    @property
    def main(self) -> "RunFolder":
        """This run on its own test set; where it has none, on the further one that the probes are with."""
        views = [*self.views.values()]
        with_probes = (view for view in views if any("probes" in one for one in view.systems.values()))
        return self if self.systems else next(with_probes, views[-1])

    @property
    def method(self) -> str:
        """The name of the method that trained the warm start."""
        return METHOD_LABELS[method_of(self.config)]

    def label(self, system: str) -> str:
        """The name of a system of this run."""
        labels = {"trained": self.method, "trained_best": f"{self.method}, best on dev"}
        return labels.get(system) or SYSTEM_LABELS.get(system, system)

    @property
    def own_systems(self) -> list[str]:
        """The names of the run's own systems."""
        return [name for name in self.systems if name in SYSTEMS]

    @property
    def added_systems(self) -> list[str]:
        """The names of those that were added to the run."""
        return [name for name in self.systems if name not in SYSTEMS]

    def pair(self, before: str, after: str) -> Json | None:
        """The comparison after - before, if it was made."""
        return next(
            (
                pair
                for pair in self.comparison.get("pairs", ())
                if (pair["before"], pair["after"]) == (before, after)
            ),
            None,
        )


def read_run(path: Path) -> RunFolder:
    """Read every part of a run folder; InputError if it is no run folder or a part of it is damaged."""
    if not path.is_dir():
        raise InputError(
            f"{path}: no such run folder; give the folder that a run has written (it holds config.json)"
        )
    if not (path / "config.json").exists():
        raise InputError(
            f"{path}: not a run folder, it has no config.json; give the folder that a run has written"
        )
    metrics = read_metrics(path / "metrics.jsonl")
    config = read_part(path / "config.json")
    systems, comparison = read_results(path)
    run = RunFolder(
        path=path,
        config=config,
        environment=read_part(path / "environment.json"),
        corpus=read_part(path / "corpus.json"),
        timings=read_part(path / "timings.json"),
        comparison=comparison,
        systems=systems,
        sft=tuple(row for row in metrics if row["stage"] == "sft"),
        train=tuple(row for row in metrics if row["stage"] == "train"),
        train_dev=tuple(row for row in metrics if row["stage"] == "train_dev"),
        tax=tuple(row for row in metrics if row["stage"].endswith("_tax")),
    )
    tests = {name: read_results(path, name) for name in test_names(path)}
    views = {name: replace(run, systems=own, comparison=pairs) for name, (own, pairs) in tests.items() if own}
    return replace(run, tests=views)


def results_folder(run: Path, test: str = "") -> Path:
    """Where the results on a test set are: "" is the run's own one."""
    return run / "eval" / test


def added_folder(run: Path, test: str) -> Path:
    """Where the results of added systems on a test set are."""
    return run / ADDED / test


def test_names(run: Path) -> list[str]:
    """The further test sets that a run folder has results on."""
    folders = results_folder(run).glob("[!.]*/")
    return sorted(path.name for path in folders)


def read_results(run: Path, test: str = "") -> tuple[dict[str, Json], Json]:
    """The results of each system on a test set, added ones too, and their comparison. Raises InputError for a damaged
    file.
    """
    folder = results_folder(run, test)
    systems = read_systems(folder, SYSTEMS)
    comparison = read_part(folder / "comparison.json", ("pairs", "resamples"))
    added_systems = read_systems(added_folder(run, test), added_names(run, test))
    if not systems or not added_systems:
        return systems, comparison
    more = read_part(added_folder(run, test) / "comparison.json", ("pairs", "resamples"))
    pairs = [*comparison.get("pairs", ()), *more.get("pairs", ())]
    return systems | added_systems, {**more, **comparison, "pairs": pairs}


def added_names(run: Path, test: str) -> list[str]:
    """The names of the systems that were added on a test set."""
    names = {path.stem for path in added_folder(run, test).glob("[!.]*.json")}
    return sorted(names - {"comparison"})


def method_of(config: Json) -> str:
    """train.method; runs from before there was a choice are GRPO."""
    train = config.get("train")
    method = train.get("method") if isinstance(train, dict) else None
    return method if method in METHOD_LABELS else "grpo"


def read_part(path: Path, keys: tuple[str, ...] = ()) -> Json:
    """A JSON object with at least `keys`; empty if the file does not exist."""
    if not path.exists():
        return {}
    document = read_object(path)
    missing = [key for key in keys if key not in document]
    if missing:
        raise InputError(
            f"{path}: key {missing[0]!r} is missing, so the file is damaged; delete it and run the evaluation again"
        )
    return document


def read_systems(folder: Path, names: Sequence[str]) -> dict[str, Json]:
    """The results of those systems that have a file in the folder."""
    systems = {name: read_system(folder / f"{name}.json") for name in names}
    return {name: system for name, system in systems.items() if system}


def read_system(path: Path) -> Json:
    """The result of one system, each of its items with ITEM_KEYS; empty if the file does not exist."""
    document = read_part(path, SYSTEM_KEYS)
    items = document.get("items")
    for place, item in enumerate(items if isinstance(items, list) else ()):
        missing = [key for key in ITEM_KEYS if not isinstance(item, dict) or key not in item]
        if missing:
            raise InputError(
                f"{path}: items[{place}] has no {missing[0]!r}, so the file is damaged; delete it and run the evaluation again"
            )
    return document


@contextmanager
def named_damage(problem: str, repair: str) -> Iterator[None]:
    """Raises InputError, which says the problem and its repair, where a value of the wrong kind is met."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(f"{problem} ({type(error).__name__}: {error}); {repair}") from error


def references_of(item: Json) -> list[str]:
    """Every reference text of a test item; one from before they were all kept has its first."""
    references: list[str] = item.get("references") or [item["reference"]]
    return references


def shared_keys(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys that all have, in the order of the first; results of earlier versions and settings lack some."""
    first, *others = documents
    return [key for key in first if all(key in one for one in others)]


def results_by_corpus(result: Json) -> dict[str, Json]:
    """The results that `eval.macro.macro_result` has put together, by corpus; one on a single corpus as ""."""
    corpora = result.get("corpora")
    return corpora if isinstance(corpora, dict) and corpora else {"": result}


def questions_of(probes: Json) -> list[str]:
    """The sets of questions that a result of the probes holds; an older one has fewer."""
    return [name for name, result in probes.items() if isinstance(result, dict) and "accuracy" in result]


def read_metrics(path: Path) -> list[Json]:
    """The rows of metrics.jsonl in order of step; of a step that a resumed run wrote again the last row counts."""
    if not path.exists():
        return []
    rows: dict[tuple[str, int], Json] = {}
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            row = parse_log_row(line, f"{path}:{number}")
            rows[row["stage"], row["step"]] = row
    return [rows[key] for key in sorted(rows)]


# of those that no method trained
SYSTEM_LABELS = {
    "untouched": "Untouched model",
    "translation_memory": "Translation memory",
    "warm_start": "Warm start (SFT)",
}


METHOD_LABELS = {  # train.method
    "grpo": "GRPO",
    "sft": "SFT",
    "best_of_group": "Best of group",
    "recovery": "Recovery",
    "self_distillation": "Self-distillation",
}
