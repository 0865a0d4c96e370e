"""A learned metric as a term of the reward: `reward.metrics` gives it a name, and weights, gates and `shown` use the name."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from data.errors import InputError
from data.settings import Rule
from reward.rows import References, Texts

if TYPE_CHECKING:
    from reward.learned.folder import Facts
    from reward.learned.scores import Metrics

PLACE = "reward.metrics."


def metric_term(name: str) -> Callable[..., Tensor]:
    """The term of the metric `name`: higher is better, and MetricX's number of errors s is 1 - s / 25."""

    def term(
        sources: Texts,
        completions: Texts,
        references: References,
        *,
        metrics: "Metrics",
        low: float | None = None,
        high: float | None = None,
    ) -> Tensor:
        """(N,) fp32. With `low` and `high` a score s counts as (s - low) / (high - low), cut to [0, 1]."""
        values = metrics[name].rewards(sources, completions, references)
        if low is None or high is None:
            return values
        return ((values - low) / (high - low)).clamp(0, 1)

    return term


def metric_rules(
    folders: Mapping[str, str],
    gates: Iterable[str],
    settings: Mapping[str, Mapping[str, Any]],
    other_names: Iterable[str],
) -> list[Rule]:
    """Rules of `reward.metrics`: its names, and the settings of its terms. Reads no folder."""
    bad_names = [name for name in folders if not name.isidentifier() or name != name.lower()]
    known_names = sorted(folders.keys() & set(other_names))
    bad_ends = [name for name in folders if not _has_good_ends(settings.get(name, {}))]
    open_gates = [name for name in gates if name in folders and "low" not in settings.get(name, {})]
    return [
        (bool(bad_names), f"{PLACE}{', '.join(bad_names)} is no name; write small letters, digits and _"),
        (
            bool(known_names),
            f"{PLACE}{', '.join(known_names)} is the name of another term or score; choose another",
        ),
        (
            bool(bad_ends),
            f"reward.settings.{', '.join(bad_ends)}: low and high are two numbers, low below high: the scores that count as "
            "0 and as 1",
        ),
        (
            bool(open_gates),
            f"reward.gates: the score of {', '.join(open_gates)} may leave [0, 1]; write reward.settings.{(open_gates or ['NAME'])[0]} = "
            "{ low = 0.4, high = 0.9 }: the scores that count as 0 and as 1",
        ),
    ]


def _has_good_ends(settings: Mapping[str, Any]) -> bool:
    ends = [settings[key] for key in ("low", "high") if key in settings]
    are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    return are_numbers and (not ends or (len(ends) == 2 and ends[0] < ends[1]))


def check_metric(name: str, folder: str) -> None:
    """Raises InputError for a folder that is no metric or lacks a part, and for a metric under the name of another family.
    Loads no weights.
    """
    from reward.learned.folder import FAMILIES, check_parts, metric_folder  # it loads transformers

    facts = facts_of(name, folder)
    if name in FAMILIES and name != facts.family:
        raise InputError(
            f"{PLACE}{name}: {folder} is a {facts.family} metric; name it so, or give another folder"
        )
    check_parts(metric_folder(folder))


def needs_reference(name: str, folder: str) -> bool:
    """Whether the metric `name` in a folder cannot score without a reference text. Raises InputError."""
    return facts_of(name, folder).needs_reference


def facts_of(name: str, folder: str) -> "Facts":
    """metric.json of the folder that `reward.metrics` names."""
    from reward.learned.folder import metric_folder, read_facts

    return read_facts(metric_folder(folder, f"{PLACE}{name} ="))
