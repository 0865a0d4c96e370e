"""Every setting, its default and its check, as nested frozen dataclasses; TOML and `key=value` say what differs.

Defaults live here and in the two section classes of `data` and `reward`, nowhere else. Unknown keys, wrong types and
combinations that cannot work are refused in one sentence, before a model is loaded.
"""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from data.documents import check_settings, read_toml
from data.errors import InputError
from data.prepare import DataConfig
from grpo.advantage import BASELINES, SCALES
from grpo.kl import KL_ESTIMATORS
from grpo.limits import check_limits
from grpo.loss import OBJECTIVES
from reward.combine import RewardConfig

POSITIVE = (  # counts that may not be 0
    "sft.batch_size sft.max_completion_tokens sft.max_tokens_per_pass rollout.num_prompts rollout.max_new_tokens "
    "train.passes tax.every tax.texts tax.anchor_texts train.max_tokens_per_pass model.max_prompt_tokens "
    "eval.batch_size eval.max_new_tokens eval.bootstrap_samples checkpoint.keep"
)
METHODS = ("grpo", "sft", "best_of_group")
WRITTEN = {"tuple": 'list, e.g. ["a", "b"]', "dict": "table, e.g. { a = 1.0 }"}  # types whose name in TOML is another


@dataclass(frozen=True)
class OptimConfig:
    """`lr` is the peak; `schedule` after the warm-up is constant, linear or cosine, down to `final_lr_share` of the peak."""

    lr: float = 1e-5
    schedule: str = "constant"
    warmup_steps: int = 0
    final_lr_share: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """`policy`: "gemma-3-270m" (from its package), a transformers folder, or "hub:owner/name", which alone may use the network."""

    policy: str = "gemma-3-270m"
    vocabulary: str = "trimmed"
    max_prompt_tokens: int = 96


@dataclass(frozen=True)
class SFTConfig:
    """The warm start: a short SFT, loss on the completion and its end token only; on the first `max_pairs` pairs (0 = on all).

    `anchor`: weight of KL(untouched || policy) on general text (section tax) in every update; 0 = none.
    """

    num_steps: int = 60
    batch_size: int = 32
    max_pairs: int = 0
    anchor: float = 0.0
    max_completion_tokens: int = 32
    max_tokens_per_pass: int = 2048
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(lr=1e-4, schedule="linear", warmup_steps=5, weight_decay=0.01, final_lr_share=0.1)
    )


@dataclass(frozen=True)
class RolloutConfig:
    """P = num_prompts prompts a step, G = group_size completions each, drawn at `temperature` from the full softmax.

    Training stops where log-probabilities of sampler and trainer differ by more than `max_gap` nats; 0 = as the number format asks.
    `fast_decode` = false samples by the model's own forward pass instead of the one written out in grpo/engine/decode_step.py.
    """

    num_prompts: int = 8
    group_size: int = 8
    max_new_tokens: int = 32
    temperature: float = 1.0
    max_gap: float = 0.0
    fast_decode: bool = True


@dataclass(frozen=True)
class AdvantageConfig:
    """`baseline`: mean or leave_one_out; `scale`: std, batch_std or none (grpo/advantage.py); less than `std_floor` is never divided by.

    The floor of a run is never below ten times the noise that its encoder shows (reward/noise.py).
    """

    baseline: str = "mean"
    scale: str = "std"
    std_floor: float = 1e-3


@dataclass(frozen=True)
class LossConfig:
    """`objective`: a row of OBJECTIVES (grpo/loss.py) with its clip range; `dual_clip` 0 = off.

    `kl_coef` (beta) weighs `kl_estimator` (grpo/kl.py); with `kl_target` > 0 (nats a token) it is only where a controller starts.
    """

    objective: str = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    kl_coef: float = 0.02
    kl_estimator: str = "k3"
    kl_target: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """GRPO: steps, passes over each rollout (mu), groups in one update (0 = all), packed tokens in one forward pass.

    `method` "sft" and "best_of_group" imitate instead, at the very prompts that GRPO would see: the reference texts, or the best of
    `rollout.group_size` samples of the warm start by the run's own reward (grpo/stages/imitation.py).
    `packed_attention`: on a CPU, attention skips pairs of packed tokens that see nothing of each other (grpo/engine/attention.py).
    `gradient_checkpointing` computes activations again in the backward pass instead of keeping them, in the warm start too.
    `anchor`: as `sft.anchor`, in every update of this stage.
    """

    method: str = "grpo"
    num_steps: int = 60
    passes: int = 1
    prompts_per_update: int = 0
    max_tokens_per_pass: int = 2048
    share_prefix: bool = True
    packed_attention: bool = True
    gradient_checkpointing: bool = False
    anchor: float = 0.0
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class TaxConfig:
    """`budget`: nats a token that training may cost on general text; 0 = no budget. Measured every `every` steps and at the end.

    `against`: the cost is counted from the "warm_start" or from the "untouched" model. `text`: a UTF-8 file, one text a line (JSON lines
    with a "text" where it ends in .jsonl); "" = built-in news texts. The first `texts` of them count, up to 96 tokens each.
    The KL coefficient, of which `loss.kl_coef` is the least, and going back keep it; in imitation only going back
    (grpo/stages/tax_controller.py).
    The anchors of `sft.anchor` and `train.anchor` (grpo/anchor.py) are `anchor_texts` other such texts an update.
    """

    budget: float = 0.0
    every: int = 5
    against: str = "warm_start"
    text: str = ""
    texts: int = 32
    anchor_texts: int = 2


@dataclass(frozen=True)
class CheckpointConfig:
    """Save every `every` steps (0 = only when interrupted) and keep the last `keep`, one more than is needed while nothing is damaged.

    After every `snapshots` steps of the stage grpo, and at its end, the model is also exported for evaluation (0 = never).
    """

    every: int = 25
    keep: int = 2
    snapshots: int = 0


@dataclass(frozen=True)
class EvalConfig:
    """Greedy decoding of the test set and the general-competence probes; `extended_probes`: those of BIG-bench too (a package of 358 MB).

    During GRPO, every `every` steps (0 = never) the first `dev_items` of the dev set get the run's own reward: a curve in the log, and the
    checkpoint that did best is kept.
    """

    every: int = 0
    dev_items: int = 128
    batch_size: int = 64
    max_new_tokens: int = 40
    bootstrap_samples: int = 2000
    probes: bool = True
    extended_probes: bool = False


@dataclass(frozen=True)
class Config:
    seed: int = 0
    run_dir: str = "runs/mt"
    device: str = "auto"
    threads: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tax: TaxConfig = field(default_factory=TaxConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    @property
    def updates_per_step(self) -> int:
        """Optimiser updates that follow a rollout; after the first the policy has moved away from the one that sampled."""
        return self.train.passes * self.rollout.num_prompts // (self.train.prompts_per_update or self.rollout.num_prompts)

    @property
    def reuses_rollout(self) -> bool:
        return self.updates_per_step > 1


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """TOML file and `section.key=value` overrides -> a checked Config. Raises InputError."""
    values = read_toml(Path(path))
    for override in overrides:
        apply_override(values, override)
    check_settings(values, str(path))
    config = build_from(values, read_toml(Path(path)), str(path))
    check(config)
    check_limits(config)
    return config


def build_from(values: dict[str, Any], of_file: dict[str, Any], path: str) -> Config:
    """The configuration of `values`. An InputError names the file, or the command line where the file `of_file` alone is right."""
    try:
        config: Config = build(Config, values, path, "")
    except InputError as error:
        try:
            build(Config, of_file, path, "")
        except InputError:
            raise error from None
        raise InputError(f"command line: {str(error).removeprefix(f'{path}: ')}") from error
    return config


def apply_override(values: dict[str, Any], override: str) -> None:
    """Put `a.b=value` into nested `values`; the value is TOML, or else taken as a string."""
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not all([*sections, name]):
        raise InputError(f"override {override!r}: write section.key=value, e.g. train.num_steps=20")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise InputError(f"override {override!r}: {section} is not a section")
    values[name] = override_value(text, key)


def override_value(text: str, key: str) -> Any:
    """One TOML value; what is none, or more than one line of TOML, is a string as it stands."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except RecursionError as error:
        raise InputError(f"override {key.strip()}: nested too deeply; write it flatter") from error
    except ValueError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def build(kind: Any, values: dict[str, Any], path: str, prefix: str, base: Any = None) -> Any:
    """A dataclass from a dictionary: every key known, every value of the declared type. `base` supplies the defaults."""
    base = kind() if base is None else base
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in names:
            raise InputError(f"{path}: unknown key {key!r}; known keys here: {', '.join(names)}")
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise InputError(f"{path}: {key} is a section; write its settings under [{key}]")
            changes[name] = build(hints[name], value, path, f"{key}.", getattr(base, name))
        else:
            changes[name] = typed(hints[name], value, path, key)
    return dataclasses.replace(base, **changes)


def typed(hint: Any, value: Any, path: str, key: str) -> Any:
    """`value` as the declared type; integers are accepted where a float is asked for, lists become tuples, nothing else is converted."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        kind, inner = typing.get_origin(option), typing.get_args(option)
        if option is Any:
            return value
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind is tuple and isinstance(value, list):
            return tuple(typed(inner[0], item, path, f"{key}[{place}]") for place, item in enumerate(value))
        if kind is dict and isinstance(value, dict):
            return {name: typed(inner[1], item, path, f"{key}.{name}") for name, item in value.items()}
        if option in (int, str, bool) and type(value) is option:
            return value
    given = [getattr(option, "__name__", str(option)) for option in options]
    names = " or ".join(WRITTEN.get(name, name) for name in given)
    raise InputError(f"{path}: {key} = {value!r} is of type {type(value).__name__}; write a value of type {names}")


def check(config: Config) -> None:
    """Refuse values and combinations that cannot work; each message names the fields and values that would do."""
    rollout, train, loss = config.rollout, config.train, config.loss
    per_update = train.prompts_per_update or rollout.num_prompts
    positive = {name: attrgetter(name)(config) for name in POSITIVE.split()}
    known = {
        "train.method": (train.method, METHODS),
        "loss.objective": (loss.objective, tuple(OBJECTIVES)),
        "loss.kl_estimator": (loss.kl_estimator, tuple(KL_ESTIMATORS)),
        "advantage.baseline": (config.advantage.baseline, BASELINES),
        "advantage.scale": (config.advantage.scale, SCALES),
        "model.vocabulary": (config.model.vocabulary, ("trimmed", "full")),
        "tax.against": (config.tax.against, ("warm_start", "untouched")),
        "sft.optim.schedule": (config.sft.optim.schedule, ("constant", "linear", "cosine")),
        "train.optim.schedule": (train.optim.schedule, ("constant", "linear", "cosine")),
    }
    problems = [f"{name} = {value}: must be at least 1" for name, value in positive.items() if value < 1]
    problems += [f"{name} = {value!r}: known values are {', '.join(names)}" for name, (value, names) in known.items() if value not in names]
    lowest_lr = min(train.optim.lr, config.sft.optim.lr)
    broken_rules = [
        (rollout.group_size < 2, f"rollout.group_size = {rollout.group_size}: GRPO compares completions of one prompt; use 2 or more"),
        (rollout.temperature <= 0, f"rollout.temperature = {rollout.temperature}: GRPO samples; use a value above 0, e.g. 1.0"),
        (
            per_update < 1 or rollout.num_prompts % per_update != 0,
            f"train.prompts_per_update = {per_update} does not divide rollout.num_prompts = {rollout.num_prompts}",
        ),
        (not 0 < loss.clip_low < 1, f"loss.clip_low = {loss.clip_low}: must lie between 0 and 1"),
        (loss.clip_high <= 0, f"loss.clip_high = {loss.clip_high}: must be above 0"),
        (
            loss.dual_clip != 0 and loss.dual_clip <= 1 + loss.clip_high,
            f"loss.dual_clip = {loss.dual_clip}: must be 0 (off) or above 1 + loss.clip_high = {1 + loss.clip_high}",
        ),
        (loss.kl_coef < 0, f"loss.kl_coef = {loss.kl_coef}: must not be negative"),
        (loss.kl_target < 0, f"loss.kl_target = {loss.kl_target}: must not be negative"),
        (loss.kl_target > 0 and loss.kl_coef == 0, "loss.kl_target moves loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02"),
        (rollout.max_gap < 0, f"rollout.max_gap = {rollout.max_gap}: must not be negative"),
        (config.advantage.std_floor <= 0, f"advantage.std_floor = {config.advantage.std_floor}: must be above 0"),
        (train.num_steps < 0, f"train.num_steps = {train.num_steps}: must not be negative"),
        (config.sft.num_steps < 0, f"sft.num_steps = {config.sft.num_steps}: must not be negative"),
        (config.seed < 0, f"seed = {config.seed}: must not be negative"),
        (
            train.method != "grpo" and config.updates_per_step > 1,
            f"train.method = {train.method!r} makes one update of each step; write train.passes=1 and train.prompts_per_update=0",
        ),
        (
            train.method == "sft" and config.reward.control != "none",
            f"reward.control = {config.reward.control!r} changes nothing: train.method = 'sft' imitates the references without a reward",
        ),
        *needs_of_parts(config),
        (lowest_lr <= 0, f"train.optim.lr = {train.optim.lr}, sft.optim.lr = {config.sft.optim.lr}: must be above 0"),
    ]
    problems += [message for broken, message in [*broken_rules, *tax_rules(config)] if broken]
    if problems:
        raise InputError(problems[0])


def needs_of_parts(config: Config) -> list[tuple[bool, str]]:
    """What needs a part of the corpus that is set to nothing: (whether it is broken, what to write instead)."""
    data, threshold = config.data, config.reward.threshold
    return [
        (
            data.warm_start_share == 0 and config.sft.num_steps > 0,
            f"data.warm_start_share = 0.0 leaves no pairs for sft.num_steps = {config.sft.num_steps}; raise one, or write 0 for both",
        ),
        (
            data.dev_size == 0 and isinstance(threshold, str),
            f"reward.threshold = {threshold!r} is measured on the dev set, and data.dev_size = 0; raise data.dev_size, or write a number",
        ),
        (
            data.dev_size == 0 and config.eval.every > 0,
            f"eval.every = {config.eval.every} looks at the dev set, and data.dev_size = 0; raise data.dev_size, or write eval.every=0",
        ),
    ]


def tax_rules(config: Config) -> list[tuple[bool, str]]:
    """What a tax budget cannot be combined with: (whether it is broken, what to write instead)."""
    tax, loss, dev = config.tax, config.loss, config.eval.every
    return [
        (tax.budget < 0, f"tax.budget = {tax.budget}: must not be negative"),
        (
            tax.budget > 0 and loss.kl_coef == 0 and config.train.method == "grpo",
            "tax.budget is held by multiplying loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02",
        ),
        (tax.budget > 0 and loss.kl_target > 0, "tax.budget and loss.kl_target would both move loss.kl_coef; set one of them to 0"),
        (
            tax.budget > 0 and dev % max(1, tax.every) != 0,
            f"eval.every = {dev} may choose a step at which no tax is measured; make it a multiple of tax.every = {tax.every}",
        ),
    ]
