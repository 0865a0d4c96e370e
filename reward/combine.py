"""Combines terms into the reward of a completion: the product of the gates times the weighted sum of the
terms.

    R = prod_g g  x  sum_k w_k t_k
    by default  script x length_fit x unrepeated x uncopied x R_sim,  in [0, 1]

The paper's reward is a sum, 1.5 R_sim + 1.0 R_lang (arXiv 2605.14366): `weights = {cosine = 1.5, script =
1.0}`, `gates = []`. A sum has loopholes: the right script without meaning earns 1.0 of 2.5, and one term can
make up for the loss of another. The product pays for meaning only, and each gate lowers it in proportion.
Terms are plain functions (sources, completions, references, *, settings) -> (N,) numbers. Where a term that
counts is missing (NaN, None), that completion's reward is NaN; other completions keep theirs. Not here:
advantages and sampling.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from data.errors import InputError
from data.extras import check_extra
from data.script import known_script
from data.settings import Bounds, Rule, check_bounds, check_rules
from reward.faults import Term, check_gate, check_some_reward, term_values
from reward.identify import load_identifier
from reward.language import LanguageGate, check_known, measure_fit
from reward.learned.term import check_metric, metric_rules, metric_term, needs_reference
from reward.own_term import is_own_term, load_own_term
from reward.rows import References, Texts
from reward.scales import NO_STATISTICS, Statistics, on_one_scale
from reward.share import chosen_groups
from reward.terms import NO_GATES, REFERENCE_FREE, TERMS

RESOURCES = (  # what a run lends to terms
    "vectors", "held_out", "bank", "target_script", "target_language", "threshold", "min_share", "language_gate", "metrics",
    "length_bounds",
)  # fmt: skip
# of the evaluation: no metric may be called so
SCORE_NAMES = ("rouge_l", "consistent_share", "empty_share", "copied_share", "reward")
BOUNDS = (Bounds(1e-6, 1, "min_share metric_share"),)
THRESHOLD_BOUNDS = (Bounds(-1, 0.999999, "threshold", "it is a cosine, and 1 would leave no reward"),)


@dataclass(frozen=True)
class RewardConfig:
    """Section [reward]. Names in `weights`, `gates` and `shown` are rows of `reward.terms`, or
    "FILE.py:function". `weights`: the factor of each term in the sum. `gates`: terms in [0, 1] that multiply the sum.
    `shown`: terms that are computed for the log only.

    `threshold` is tau, or how to find it from the warm start's outputs on dev: mean, q10, q25, q50
    (quantiles). The default is the mean of unrelated pairs, both of Chinese sentences under "use" and of
    Dzongkha ones under "bo". `normalise` puts
    the gated terms on one scale before the sum, so that weights compare what terms say and not their scales: true =
    standardised in their group, "rank" = their ranks in the group, "dev" = by their mean and standard deviation on the
    warm start's outputs for dev.
    `settings.NAME` has the keyword settings of term NAME.
    `held_out` is a second encoder, which only judges; "static" is made of the untouched model's
    token embeddings. `control` other than "none" puts a reward without meaning in its place
    (reward/control.py). `identifier`: what the term `language` and the evaluation ask for the language of
    a text, a row of `reward.identify` or a fastText file; "" is pycld2 for the term and nothing for the evaluation.
    `metrics` (reward/learned/) are for the evaluation, and for `weights`, `gates` and `shown` by their names.
    """

    encoder: str = "use"  # "use", "bo", static:FOLDER or a folder (docs/reward.md)
    encoders: dict[str, str] = field(default_factory=dict)  # by target language, in place of `encoder`
    held_out: str = "static"
    control: Literal["none", "shuffled", "random"] = "none"
    weights: dict[str, float] = field(default_factory=lambda: {"cosine": 1.0})
    gates: tuple[str, ...] = ("script", "length_fit", "unrepeated", "uncopied")
    normalise: bool | Literal["rank", "dev"] = False
    threshold: float | Literal["mean", "q10", "q25", "q50"] = 0.1
    min_share: float = 0.95  # share of the letters that must be in the target script
    identifier: str = ""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # keyword settings of terms, by name
    metrics: dict[str, str] = field(default_factory=dict)  # name -> folder of a learned metric
    one_metric_at_a_time: bool = False  # keep at most one of their models in memory
    metric_format: Literal["fp32", "bf16"] = (
        "fp32"  # number format of the learned metrics; bf16 is for a card
    )
    metric_share: float = (
        1.0  # share of the groups of a step that learned metrics score; other terms score all
    )
    shown: tuple[str, ...] = (
        "cosine_raw", "cosine_held_out", "cosine_empty", "chrf", "script", "length_ratio", "length_fit", "unrepeated", "uncopied"
    )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Every term to compute, each once."""
        return list(dict.fromkeys([*self.weights, *self.gates, *self.shown]))

    @property
    def rare_terms(self) -> tuple[str, ...]:
        """The terms that training computes for a share of the groups only."""
        return tuple(self.metrics) if self.metric_share < 1 else ()

    @property
    def is_measured(self) -> bool:
        """Whether a part of it is measured on the warm start's outputs for dev."""
        return isinstance(self.threshold, str) or self.normalise == "dev"

    @property
    def compares_groups(self) -> bool:
        """Whether a reward depends on the other completions of its group."""
        return self.normalise in (True, "rank")


class Reward(Protocol):
    """The function that the training loop calls; `group_size` consecutive completions belong to one prompt."""

    def __call__(
        self, sources: Texts, completions: Texts, references: References, group_size: int, share: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """N = P * G rows -> rewards (P, G) fp32 and every term, unweighted, name -> (P, G); NaN = missing.
        Learned metrics score this `share` of the groups. Raises RewardFailure.
        """
        ...


Terms = Mapping[str, Callable[..., Any]]  # a caller's own terms by name
NO_TERMS: Terms = {}


def make_reward(
    config: RewardConfig,
    resources: Mapping[str, Callable[[], Any]],
    own_terms: Terms = NO_TERMS,
    statistics: Statistics = NO_STATISTICS,
) -> Reward:
    """Make the reward of a run. `resources`: name in RESOURCES -> the function that makes it; only the
    resources that a term takes are made (reward/semantic.py has all of them). `statistics` are those of
    `normalise = "dev"`.

    Raises InputError for settings that cannot work.
    """
    terms: dict[str, Term] = {}
    for name in config.names:
        function = find_term(name, own_terms, config.metrics)
        own = config.settings.get(name, {})
        lent = {key: resources[key]() for key in keywords(function) if key in resources and key not in own}
        terms[name] = bind(name, function, lent | own)
    return combine(
        terms, config.weights, config.gates, normalise=config.normalise, statistics=statistics,
        rare=tuple(config.metrics),
    )  # fmt: skip


def check_section(config: RewardConfig) -> None:
    """InputError for the first setting, or combination of settings, that cannot work, whatever the terms."""
    check_bounds(config, BOUNDS, "reward.")
    if not isinstance(config.threshold, str):
        check_bounds(config, THRESHOLD_BOUNDS, "reward.")
    check_rules(section_rules(config))


def section_rules(config: RewardConfig) -> list[Rule]:
    """Rules of weights, gates and settings of terms."""
    bad_weights = [name for name, value in config.weights.items() if not 0 <= value < float("inf")]
    bad_gates = [name for name in config.gates if name in NO_GATES]
    gates = ", ".join(name for name in TERMS if name not in NO_GATES)
    wrong_names = [name for name in config.settings if name not in config.names]
    return [
        (
            bool(bad_weights),
            f"{', '.join(f'reward.weights.{name} = {config.weights[name]}' for name in bad_weights)}: must be a number from 0",
        ),
        (not any(config.weights.values()), "reward.weights are all 0: nothing is rewarded"),
        (
            bool(bad_gates),
            f"reward.gates: {', '.join(bad_gates)} is no gate, for it is not in [0, 1] with 1 for the reference text; "
            f"a gate is one of {gates}",
        ),
        *metric_rules(config.metrics, config.gates, config.settings, (*TERMS, *SCORE_NAMES)),
        (
            config.metric_share < 1
            and not any(config.weights[name] for name in config.weights if name not in config.metrics),
            f"reward.metric_share = {config.metric_share}: groups that no learned metric scores would have no reward; give another "
            "term a weight above 0, such as cosine or chrf, or write 1",
        ),
        (
            config.metric_share < 1 and not config.metrics,
            f"reward.metric_share = {config.metric_share}: there is no learned metric; name one in reward.metrics, or write 1",
        ),
        (
            bool(wrong_names),
            f"reward.settings.{', '.join(wrong_names)}: no such term is used; used terms: {', '.join(config.names)}",
        ),
    ]


def check(
    config: RewardConfig,
    target_language: str,
    setting: str = "data.target_language",
    own_terms: Terms = NO_TERMS,
) -> None:
    """Refuse what cannot work before anything is computed: the section, its terms and their settings. Raises
    InputError.

    `setting` is where the language of the completions stands.
    """
    check_section(config)
    script = known_script(target_language, setting)
    facts = {
        "target_language": target_language, "target_script": script, "min_share": config.min_share,
        "language_gate": language_gate(config, target_language),
    }  # fmt: skip
    for name, folder in config.metrics.items():
        check_metric(name, folder)
    for name in config.names:
        function = find_term(name, own_terms, config.metrics)
        if "bank" in keywords(function):
            check_extra("search", f"the reward term {name!r}", "faiss")
        lent = {key: facts.get(key) for key in keywords(function) if key in RESOURCES}
        term = bind(name, function, lent | config.settings.get(name, {}))
        if name in TERMS and name not in own_terms and set(lent) <= set(facts):
            term([], [], [])  # a term checks the values of its settings when it is called


def language_gate(config: RewardConfig, target_language: str) -> LanguageGate | None:
    """The run's identifier for its target language, with no threshold of its own yet; None without one. Raises
    InputError where it cannot be loaded or does not know the language.
    """
    if not config.identifier:
        return None
    identifier = load_identifier(config.identifier)
    check_known(config.identifier, identifier, target_language)
    return LanguageGate(identifier, target_language)


def fitted_gate(config: RewardConfig, target_language: str, texts: Sequence[str]) -> LanguageGate | None:
    """The gate of `identifier`, with its threshold measured on `texts` where they are enough."""
    gate = language_gate(config, target_language)
    fit = measure_fit(gate, texts, []) if gate else None
    return replace(gate, threshold=fit.threshold) if gate and fit else gate


def find_term(name: str, own_terms: Terms = NO_TERMS, metrics: Iterable[str] = ()) -> Callable[..., Any]:
    """One of `own_terms`, the term of one of `metrics`, a row of TERMS, or the function of "FILE.py:function". Raises
    InputError.
    """
    if name in own_terms:
        return own_terms[name]
    if name in metrics:
        return metric_term(name)
    if is_own_term(name):
        return load_own_term(name)
    if name not in TERMS:
        raise InputError(
            f"reward: unknown term {name!r}; known terms: {', '.join((*metrics, *TERMS))}, or FILE.py:function for one of your own"
        )
    return TERMS[name]


def reward_needs(config: RewardConfig, resources: Iterable[str]) -> bool:
    """Whether a term that counts, by weight or as a gate, takes one of `resources` (names in RESOURCES)."""
    active = [*(name for name, weight in config.weights.items() if weight), *config.gates]
    return any(keywords(find_term(name, metrics=config.metrics)).keys() & set(resources) for name in active)


def terms_with_references(config: RewardConfig) -> list[str]:
    """The terms that are computed and need a reference text; one of the user's own says so itself when it is called."""
    learned_terms = [
        name
        for name in config.names
        if name in config.metrics and needs_reference(name, config.metrics[name])
    ]
    return [name for name in config.names if name in TERMS and name not in REFERENCE_FREE] + learned_terms


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a term: its settings."""
    return {
        key: p
        for key, p in inspect.signature(function).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }


def bind(name: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> Term:
    """Fill in the settings of a term. Raises InputError for an unknown setting and for a required one that is
    missing.
    """
    parameters = keywords(function)
    for setting in settings:
        if setting not in parameters:
            raise InputError(
                f"reward term {name!r}: unknown setting {setting!r}; known settings: {', '.join(parameters) or 'none'}"
            )
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in settings:
            raise InputError(
                f"reward term {name!r}: needs the setting {key!r}; write it as reward.settings.{name}.{key}"
            )
    return functools.partial(function, **settings)


def combine(
    terms: Mapping[str, Term],
    weights: Mapping[str, float],
    gates: Iterable[str] = (),
    *,
    normalise: bool | str = False,
    statistics: Statistics = NO_STATISTICS,
    rare: Collection[str] = (),
) -> Reward:
    """Make the reward R = prod of `gates` x sum of weight x term; a term with neither is only reported.

    `normalise`: before the sum gate x term is standardised in its group (true), replaced by its rank there ("rank"), or
    standardised by `statistics` ("dev"; a term without any stays as it is). Gates come first, so a completion with gate
    0 is the worst of its group and not an average one.

    `rare`: terms that score only the `share` of the groups that a call names (reward/share.py). Elsewhere they are NaN,
    and R is made of the other terms and gates; a group is never divided.
    """
    gates = tuple(gates)
    for name in [*weights, *gates]:
        if name not in terms:
            raise InputError(f"reward: unknown term {name!r}; known terms: {', '.join(terms)}")
    # 0 times a missing value would be missing
    active_weights = {name: weight for name, weight in weights.items() if weight}

    def reward(
        sources: Texts, completions: Texts, references: References, group_size: int, share: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if group_size < 1 or len(completions) % group_size:
            raise ValueError(f"{len(completions)} completions are no whole number of groups of {group_size}")
        chosen = chosen_groups(sources, completions, group_size, share).repeat_interleave(group_size)
        columns = sources, completions, references
        rows = {name: chosen if name in rare else torch.ones_like(chosen) for name in terms}
        values = {
            name: at_rows(rows[name], functools.partial(term_values, name, term), *columns)
            for name, term in terms.items()
        }
        gate = torch.ones(len(completions), dtype=torch.float64)
        for name in gates:
            check_gate(name, values[name], completions)
            gate *= values[name].double().masked_fill(~rows[name], 1)
        total = torch.zeros(len(completions) // group_size, group_size, dtype=torch.float64)
        for name, weight in active_weights.items():
            gated_values = (gate * values[name].double()).view(-1, group_size)
            scaled = on_one_scale(name, gated_values, normalise, statistics)
            total += weight * scaled.masked_fill(~rows[name].view(-1, group_size), 0)
        check_some_reward(total, {name: values[name] for name in (*active_weights, *gates)}, completions)
        return total.float(), {name: value.view(-1, group_size) for name, value in values.items()}

    return reward


def at_rows(rows: Tensor, judge: Callable[..., Tensor], *columns: Sequence[Any]) -> Tensor:
    """(N,) fp32: what `judge` says of the `rows` (N,) bool of columns with N entries, NaN in the others."""
    if rows.all():
        return judge(*columns)
    values = torch.full((len(rows),), torch.nan)
    flags = rows.tolist()
    values[rows] = judge(*(list(compress(column, flags)) for column in columns))
    return values
