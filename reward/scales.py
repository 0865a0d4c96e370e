"""Brings terms on one scale before they are added (`reward.normalise`): standardised in their group, by their rank there,
or by their mean and standard deviation on dev. Pure; fp64 inside.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from data.errors import InputError
from reward.groups import deviations, group_ranks, standard_deviation

GROUP_STD_FLOOR = 1e-3
Statistics = Mapping[str, Sequence[float]]  # term: mean and standard deviation of gate x term
NO_STATISTICS: Statistics = {}


def on_one_scale(name: str, values: Tensor, normalise: bool | str, statistics: Statistics) -> Tensor:
    """The gated values (P, G) of a term as `normalise` says."""
    if normalise == "rank":
        return group_ranks(values)
    if normalise == "dev":
        return (values - statistics.get(name, (0.0, 1.0))[0]) / scale_of(statistics, name)
    return standardise(values) if normalise else values


def scale_of(statistics: Statistics, name: str) -> float:
    """What a term is divided by under `normalise = "dev"`: its standard deviation, at least GROUP_STD_FLOOR."""
    return max(statistics.get(name, (0.0, 1.0))[1], GROUP_STD_FLOOR)


def term_statistics(
    values: Mapping[str, Tensor], weights: Mapping[str, float], gates: Iterable[str]
) -> dict[str, list[float]]:
    """Mean and standard deviation (over n - 1) of gate x term, for every term with a weight: name -> any shape. Missing
    values take no part. Raises InputError where a term has no value at all.

    >>> term_statistics({"a": torch.tensor([1.0, 2.0, 3.0]), "g": torch.tensor([1.0, 1.0, 1.0])}, {"a": 2.0}, ["g"])
    {'a': [2.0, 1.0]}
    """
    result = {}
    for name in (name for name, weight in weights.items() if weight):
        gated_values = values[name].double().flatten()
        for gate in gates:
            gated_values = gated_values * values[gate].double().flatten()
        present = gated_values[~gated_values.isnan()]
        if not len(present):
            raise InputError(
                f"reward.normalise = 'dev': the term {name!r} has no value on dev, so it has no scale"
            )
        deviation, count = deviations(present[None])
        result[name] = [float(present.mean()), float(standard_deviation(deviation, count))]
    return result


def standardise(values: Tensor) -> Tensor:
    """Subtract each group's mean and divide by its standard deviation, at least GROUP_STD_FLOOR: (P, G) ->
    (P, G). NaN stays NaN, and a group of one gets 0.

    >>> standardise(torch.tensor([[1.0, 2.0, 3.0, torch.nan], [0.3] + [torch.nan] * 3])).tolist()
    [[-1.0, 0.0, 1.0, nan], [0.0, nan, nan, nan]]
    """
    deviation, count = deviations(values)
    std = standard_deviation(deviation, count)
    return (deviation / std.clamp_min(GROUP_STD_FLOOR)).masked_fill(values.isnan(), torch.nan)
