"""The reward of a completion: the weighted sum of its terms, R = 1.5 R_sim + 1.0 R_lang by default (arXiv 2605.14366).

Terms are plain functions (sources, completions, references, *, settings) -> fp32 (N,), N strings each; nobody subclasses anything.
Not here: advantages, or anything that knows what made the completions.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data.errors import InputError
from data.script import SCRIPT_NAMES
from reward import TERMS
from reward.cosine import Embed

Term = Callable[[Sequence[str], Sequence[str], Sequence[str]], Tensor]


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the terms (lambda), threshold of the cosine (tau), share of letters in the target script.

    The default threshold lies above nine in ten unrelated pairs of Chinese sentences under the "use" encoder.
    `gated` multiplies the whole sum by the script term: then mixed language earns nothing, however close its meaning.
    """

    encoder: str = "use"
    cosine_weight: float = 1.5
    script_weight: float = 1.0
    threshold: float = 0.3
    min_share: float = 0.95
    gated: bool = False


class Reward(Protocol):
    """What the training loop calls; `group_size` completions in a row belong to one prompt."""

    def __call__(
        self, sources: Sequence[str], completions: Sequence[str], references: Sequence[str], group_size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """N = P * G strings each -> rewards (P, G) fp32 and every term, unweighted, name -> (P, G)."""
        ...


def make_reward(config: RewardConfig, embed: Embed, target_script: str) -> Reward:
    """The reward of a run. `cosine_raw` is computed for the log with weight 0 (`embed` remembers, so it costs nothing).

    Raises InputError for settings that cannot work.
    """
    check(config, target_script)
    settings: dict[str, dict[str, Any]] = {
        "cosine": {"embed": embed, "threshold": config.threshold},
        "cosine_raw": {"embed": embed},
        "script": {"target_script": target_script, "min_share": config.min_share},
    }
    terms = {name: bind(name, function, settings.get(name, {})) for name, function in TERMS.items()}
    weights = {"cosine": config.cosine_weight, "script": config.script_weight}
    return combine(terms, weights, gate="script" if config.gated else None)


def check(config: RewardConfig, target_script: str) -> None:
    """Refuse values outside their range before anything is computed."""
    problems = {
        f"reward.threshold = {config.threshold}: must lie in [-1, 1)": not -1 <= config.threshold < 1,
        f"reward.min_share = {config.min_share}: must lie in (0, 1]": not 0 < config.min_share <= 1,
        f"reward.cosine_weight = {config.cosine_weight}: must not be negative": not config.cosine_weight >= 0,
        f"reward.script_weight = {config.script_weight}: must not be negative": not config.script_weight >= 0,
        "reward.cosine_weight and reward.script_weight are both 0: nothing is rewarded": config.cosine_weight == config.script_weight == 0,
        f"target script {target_script!r}: unknown; known scripts: {', '.join(SCRIPT_NAMES)}": target_script not in SCRIPT_NAMES,
    }
    for problem, found in problems.items():
        if found:
            raise InputError(problem)


def bind(name: str, function: Callable[..., Tensor], settings: Mapping[str, Any]) -> Term:
    """A term with its settings filled in; InputError for a setting it does not name or one it needs and did not get."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    known = [p.name for p in parameters]
    for setting in settings:
        if setting not in known:
            raise InputError(f"reward term {name!r}: unknown setting {setting!r}; known settings: {', '.join(known) or 'none'}")
    for parameter in parameters:
        if parameter.default is inspect.Parameter.empty and parameter.name not in settings:
            raise InputError(f"reward term {name!r}: needs the setting {parameter.name!r}")
    return functools.partial(function, **settings)


def combine(terms: Mapping[str, Term], weights: Mapping[str, float], gate: str | None = None) -> Reward:
    """Weighted sum of `terms`, multiplied by the term named `gate` if any; a term without a weight is only reported."""
    for name in [*weights, *([gate] if gate else [])]:
        if name not in terms:
            raise InputError(f"reward: unknown term {name!r}; known terms: {', '.join(terms)}")

    def reward(
        sources: Sequence[str], completions: Sequence[str], references: Sequence[str], group_size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if group_size < 1 or len(completions) % group_size:
            raise ValueError(f"{len(completions)} completions are no whole number of groups of {group_size}")
        values = {name: _checked(name, term(sources, completions, references), completions) for name, term in terms.items()}
        total = torch.zeros(len(completions), dtype=torch.float64)
        for name, weight in weights.items():
            total += weight * values[name].double()
        if gate:
            total *= values[gate].double()
        return total.float().view(-1, group_size), {name: value.view(-1, group_size) for name, value in values.items()}

    return reward


def _checked(name: str, values: Tensor, completions: Sequence[str]) -> Tensor:
    """The term's values as (N,) fp32 on the CPU; ValueError for a wrong shape or a value that is not finite."""
    if values.shape != (len(completions),):
        raise ValueError(f"reward term {name!r} returned shape {tuple(values.shape)} for {len(completions)} completions")
    for row in (~values.isfinite()).nonzero().flatten().tolist()[:1]:
        raise ValueError(f"reward term {name!r} is {values[row].item()} in row {row}, completion {completions[row]!r}")
    return values.float().cpu()
