"""Makes the reward of a run from its configuration: encoders, vectors of the reference texts, tau, and the least
deviation of a group.

The measurements (tau, noise) are in `reward.json` of the run folder, so that a resumed run has exactly the same
reward.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from data.prompt import Prompt
from data.records import Chain, Mapped, sample_of
from grpo.runtime.run_log import RunLog
from grpo.stages.context import Run, corpus_of, greedy_texts, untouched_model, within_limit
from grpo.stages.language_fit import gate_of
from grpo.stages.mixing import encoder_setting, of_language, runs_by_language
from grpo.training import RewardFunction, Rewards, by_language
from reward.combine import Reward, RewardConfig, make_reward
from reward.control import OtherReferences, random_rewards
from reward.cosine import cosine_raw
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder
from reward.encoders.static import LEAST_TEXTS, load_static
from reward.faults import NamedEncoder, missing_sentence
from reward.learned.scores import Metrics
from reward.noise import cosine_noise, std_floor
from reward.rows import References, Texts
from reward.scales import GROUP_STD_FLOOR, NO_STATISTICS, Statistics, scale_of, term_statistics
from reward.semantic import resources_of
from reward.source_length import measure_bounds

STATIC = "static"
NOISE_TEXTS = 256
FILE = "reward.json"
Outputs = Sequence[tuple[Example, str]]  # examples, and what the warm start writes for each


def reference_texts(examples: Sequence[Example]) -> list[str]:
    """Every reference text of the examples, each once, in order."""
    return list(dict.fromkeys(text for example in examples for text in example.references))


def store_of(run: Run) -> EmbeddingStore:
    """The vectors of the encoder that gives the reward."""
    name = run.config.reward.encoder
    setting = encoder_setting(run.config, run.target_language)
    encoder = NamedEncoder(name, load_encoder(name, run.cache, run.compute.device, setting))
    return EmbeddingStore(encoder, run.cache / "embeddings", say=run.say)


def held_out_store(run: Run) -> EmbeddingStore:
    """The vectors of the encoder that is watched only; "static" is fitted to both sides of the corpus's train
    part, or of a sample of it.

    Where that part has too few texts for a fit, those of the warm start count too; with too few of both it goes without.
    """
    name = run.config.reward.held_out
    if name != STATIC:
        encoder = load_encoder(name, run.cache, run.compute.device, "reward.held_out")
    else:
        corpus = corpus_of(run)
        texts = both_sides(sample_of(corpus.train))
        if len(texts) < LEAST_TEXTS:
            texts = both_sides(sample_of(Chain([corpus.train, corpus.warm_start])))
        encoder = load_static(untouched_model(run).files(), texts if len(texts) >= LEAST_TEXTS else None)
    return EmbeddingStore(NamedEncoder(name, encoder), run.cache / "embeddings", say=run.say)


def both_sides(examples: Sequence[Example]) -> list[str]:
    """The reference texts of the examples, then their sources."""
    return [*reference_texts(examples), *(example.source for example in examples)]


def metrics_of(run: Run) -> Metrics:
    """The learned metrics of a run, none of which is loaded yet."""
    reward = run.config.reward
    return Metrics(reward.metrics, run.compute.device, reward.one_metric_at_a_time, reward.metric_format)


def reward_of(
    run: Run,
    store: EmbeddingStore,
    examples: Sequence[Example],
    threshold: float,
    statistics: Statistics = NO_STATISTICS,
) -> Reward:
    """The reward of a run over `examples`. Their reference texts are embedded here, once ever; those of more than
    SAMPLE examples only when a step needs them, and then the bank is of a sample.
    """
    config = run.config.reward
    language = run.target_language
    sample = sample_of(examples)
    texts = reference_texts(sample)
    known = texts if sample is examples else []
    before = store.num_encoded
    store.remember(known)
    of_them = f"{store.num_encoded - before:,} of them embedded now"
    run.say(
        f"{len(texts):,} reference texts, {of_them}"
        if sample is examples
        else f"the reference texts of {len(examples):,} examples are embedded when a step needs them"
    )

    def held_out() -> EmbeddingStore:
        other = held_out_store(run)
        other.remember(known)
        return other

    resources = resources_of(
        config, language, threshold, store, texts, held_out=held_out, gate=lambda: gate_of(run),
        metrics=lambda: metrics_of(run),
        length_bounds=lambda: measure_bounds((one.source, text) for one in sample for text in one.references),
    )  # fmt: skip
    return make_reward(config, resources, statistics=statistics)


@dataclass(frozen=True)
class RunReward:
    """The reward of a run, the vectors it is made of, and the floor under a group's standard deviation."""

    store: EmbeddingStore
    function: Reward
    std_floor: float


def load_reward(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]) -> RunReward:
    """The reward of a run over `examples`; `policy` is the warm start, by which tau may be measured. All processes call
    it: they decode together, and the first one measures.
    """
    outputs = outputs_to_measure(run, policy, prompt)

    def make() -> RunReward:
        store = store_of(run)
        facts = reward_facts(run, outputs, store, examples)
        function = reward_of(run, store, examples, facts["threshold"], facts.get("statistics", NO_STATISTICS))
        return RunReward(store, function, facts["std_floor"])

    return run.world.first_then_all(make)


def load_rewards(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]
) -> dict[str, RunReward]:
    """The reward of each target language of a run over its `examples`."""
    return {
        language: load_reward(own_run, policy, prompt, of_language(own_run, examples))
        for language, own_run in runs_by_language(run).items()
    }


def functions_of(rewards: Mapping[str, RunReward]) -> RewardFunction | Rewards:
    """The rewards themselves, without a control."""
    return by_language({language: reward.function for language, reward in rewards.items()})


def training_rewards(
    run: Run, rewards: Mapping[str, RunReward], examples: Sequence[Example]
) -> dict[str, RewardFunction]:
    """What training on `examples` maximises in each target language."""
    runs = runs_by_language(run)
    return {
        language: training_reward(run, reward.function, of_language(runs[language], examples))
        for language, reward in rewards.items()
    }


def training_reward(run: Run, whole: Reward, examples: Sequence[Example]) -> RewardFunction:
    """The reward that training on `examples` maximises: the run's own, in which learned metrics score `metric_share` of
    the groups, or the control in its place. A control also gives the terms of the run's own reward.
    """
    control = run.config.reward.control
    seed = run.config.seed
    share = run.config.reward.metric_share
    reward = partial(whole, share=share) if share < 1 else whole
    if control == "none":
        return reward
    references = Mapped(examples, lambda example: example.references)
    other = OtherReferences(references, seed) if control == "shuffled" else {}
    run.say(
        f'CONTROL: with reward.control = "{control}" training goes by a reward without sense; the true one is logged as true_reward'
    )

    def control_reward(
        sources: Texts, completions: Texts, references: References, group_size: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        true, terms = reward(sources, completions, references, group_size)
        if control == "random":
            rewards = random_rewards(sources, completions, seed).view_as(true)
        else:
            rewards, _ = reward(
                sources, completions, [other[tuple(texts)] for texts in references], group_size
            )
        return rewards, {**terms, "true_reward": true}

    return control_reward


def log_reward(
    reward: RewardFunction,
    store: EmbeddingStore,
    log: RunLog,
    say: Callable[[str], None],
    rare: Collection[str] = (),
) -> RewardFunction:
    """The same reward, which also logs the share of texts that each call found in the store, and says the
    first time that a term gives no number; the terms in `rare` need not give one.
    """
    names = {*rare}  # of terms of which nothing more is said

    def reward_and_log(
        sources: Texts, completions: Texts, references: References, group_size: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        requests = store.num_requested
        hits = store.hits
        result = reward(sources, completions, references, group_size)
        log.put({"embedding_hit_share": (store.hits - hits) / max(1, store.num_requested - requests)})
        for name, values in result[1].items():
            if name not in names and (line := missing_sentence(name, values, completions)):
                names.add(name)
                say(f"{line} (said once a start)")
        return result

    return reward_and_log


def outputs_to_measure(run: Run, policy: PreTrainedModel, prompt: Prompt) -> Outputs:
    """The greedy outputs of `policy` on dev that tau and the scales of the terms are measured by; empty where they are
    given, or have been measured.
    """
    if not run.config.reward.is_measured or run.world.any(run.facts(FILE).exists()):
        return []
    examples = within_limit(corpus_of(run).dev, prompt, run.config.model.max_prompt_tokens)
    return [*zip(examples, greedy_texts(run, policy, prompt, examples), strict=True)]


def reward_facts(
    run: Run, outputs: Outputs, store: EmbeddingStore, examples: Sequence[Example]
) -> dict[str, Any]:
    """tau, the scales of the terms and the floor of this run: measured on the first start, read back on every later
    one, said each time.
    """
    path = run.facts(FILE)
    if not path.exists():
        facts = threshold_facts(run, outputs, store)
        facts |= scale_facts(run, outputs, store, examples, facts["threshold"])
        facts |= floor_facts(run, store, facts["threshold"], facts.get("statistics", NO_STATISTICS))
        atomic_write_text(path, json.dumps(facts, indent=1))
    facts = read_facts(path)
    check_scales(path, facts, run.config.reward)
    for line in flat_terms(facts, run.config.reward):
        run.say(f"WARNING: {line}")
    run.say(
        f"reward: tau = {facts['threshold']:.4f} ({facts['rule']}); encoder noise {facts['noise']:.1e} in the cosine, "
        f"so groups that spread less than {facts['std_floor']:.1e} count as equal"
    )
    return facts


def read_facts(path: Path) -> dict[str, Any]:
    """What reward.json says. Raises InputError for what no run has measured."""
    facts = {"rule": "unknown", **read_object(path)}
    for name, low, high in (("threshold", -1, 1 - 2**-53), ("noise", 0, 2), ("std_floor", 0, 2**53)):
        value = facts.get(name)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise InputError(
                f"{path}: {name} = {value!r} was never measured; remove the file, and the next start measures anew"
            )
    return facts


def threshold_facts(run: Run, outputs: Outputs, store: EmbeddingStore) -> dict[str, Any]:
    """tau as given; or the mean or a quantile of the cosines that the warm start's greedy outputs reach on
    dev (arXiv 2605.14366).
    """
    rule = run.config.reward.threshold
    if not isinstance(rule, str):
        return {"rule": "given", "threshold": rule}
    examples = [example for example, _ in outputs]
    texts = [text for _, text in outputs]
    cosines = cosine_raw(
        [e.source for e in examples], texts, [e.references for e in examples], vectors=store
    ).double()
    return {
        "rule": f"{rule} of {len(examples)} dev outputs of the warm start",
        "threshold": threshold_from(cosines, rule),
    }


def scale_facts(
    run: Run, outputs: Outputs, store: EmbeddingStore, examples: Sequence[Example], threshold: float
) -> dict[str, Any]:
    """Under `reward.normalise = "dev"` the mean and standard deviation of each gated term over the warm start's outputs
    for dev; else nothing.
    """
    reward = run.config.reward
    if reward.normalise != "dev":
        return {}
    dev = [example for example, _ in outputs]
    texts = [text for _, text in outputs]
    _, terms = reward_of(run, store, examples, threshold)(
        [e.source for e in dev], texts, [e.references for e in dev], 1
    )
    return {"statistics": term_statistics(terms, reward.weights, reward.gates), "dev_outputs": len(outputs)}


def check_scales(path: Path, facts: Mapping[str, Any], reward: RewardConfig) -> None:
    """Raises InputError where `reward.normalise = "dev"` lacks the scale of a term."""
    scales = facts.get("statistics", {})
    for name in (name for name, weight in reward.weights.items() if weight and reward.normalise == "dev"):
        scale = scales.get(name) if isinstance(scales, dict) else None
        is_scale = (
            isinstance(scale, list) and len(scale) == 2 and all(isinstance(x, int | float) for x in scale)
        )
        if not is_scale:
            raise InputError(
                f"{path}: the scale of the term {name} was never measured; remove the file, and the next start measures anew"
            )


def flat_terms(facts: Mapping[str, Any], reward: RewardConfig) -> list[str]:
    """A sentence for each term that spreads so little on dev that `reward.normalise = "dev"` divides by the floor."""
    if reward.normalise != "dev":
        return []
    spreads = {name: scale[1] for name, scale in facts["statistics"].items() if reward.weights.get(name)}
    return [
        f"reward.normalise = 'dev': the term {name} hardly differs between outputs on dev (standard deviation {spread:.1e}), "
        f"so it is divided by the floor {GROUP_STD_FLOOR:g} instead and counts less than its weight says; leave the term out, "
        "train the warm start longer, or write reward.normalise=rank"
        for name, spread in spreads.items()
        if spread < GROUP_STD_FLOOR
    ]


def threshold_from(cosines: torch.Tensor, rule: str) -> float:
    """Mean or quantile ("q25") of the warm start's cosines, below 1: (n,) -> tau."""
    value = cosines.mean() if rule == "mean" else torch.quantile(cosines, int(rule[1:]) / 100)
    return min(float(value), 0.99)


def floor_facts(run: Run, store: EmbeddingStore, threshold: float, statistics: Statistics) -> dict[str, Any]:
    """The noise of the encoder on reference texts of dev, and the floor under the standard deviation of a
    group that it asks for.
    """
    config = run.config
    texts = reference_texts(corpus_of(run).dev)[:NOISE_TEXTS]
    scale = sum(
        config.reward.weights.get(name, 0.0) * slope / scale_of(statistics, name)
        for name, slope in (("cosine", 1 / (1 - threshold)), ("cosine_raw", 1.0))
    )
    noise = cosine_noise(store.encoder, texts, config.seed)
    return {
        "noise": noise,
        "noise_texts": len(texts),
        "std_floor": std_floor(noise, scale, config.advantage.std_floor),
    }
