"""A study's file: one base configuration, one warm start per seed, and arms that differ from it by a few
settings.

Read as strictly as a run's configuration: every arm is resolved here, for every seed, so that a typo fails
before anything runs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data.documents import check_settings, read_toml, user_path
from data.errors import InputError
from data.settings import Rule, build, check_rules, setting_value
from eval.study import layout
from eval.study.roles import STUDY_SETTINGS
from grpo.config import Config, Method
from grpo.config_file import apply_override, load_config
from grpo.old_names import current_overrides
from reward.combine import check as check_reward

ARM_NAME = re.compile(r"[a-z0-9_-]+")
RATE = "train.optim.lr"
NO_ARMS = 'a study needs arms; write [arms.grpo] with settings = [] or e.g. settings = ["loss.kl_coef=0.0"], or a [sequence] alone'
RESERVED = ("untouched", "warm_start")  # kinds of point that are no arm
WARM_START = ("sft", "anchor.sft", "token_loss.sft", "replay.sft", "protection.sft")
SHARED = ("data", "model", *WARM_START, "eval", "device")  # in which arms of one study cannot differ


@dataclass(frozen=True)
class ArmConfig:
    """A run that begins from the model `start`; `kind` is its train.method.

    `start` is "warm_start", "untouched", or an arm above this one, whose last policy it is. `snapshots` 0: a
    point as often as the study says.
    """

    name: str
    settings: tuple[str, ...] = ()  # the arm's own settings, each section.key=value
    start: str = "warm_start"
    snapshots: int = 0
    kind: Method = "grpo"


@dataclass(frozen=True)
class TransferConfig:
    """Another task learned from `examples` pairs, beginning from each of `starts`: "untouched", "warm_start"
    or the name of an arm.
    """

    config: str = "configs/headline.toml"  # the configuration of the other task
    examples: tuple[int, ...] = (50, 200, 1000)
    starts: tuple[str, ...] = ("untouched",)
    settings: tuple[str, ...] = ()  # settings of the other task, each section.key=value


@dataclass(frozen=True)
class SequenceConfig:
    """Tasks `configs` one after the other, each learned from where the one before ended: a warm start and a training
    stage by the settings of a recipe. `settings` apply to every task.
    """

    configs: tuple[str, ...] = ()  # a configuration for each task
    recipes: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # the settings of each recipe, by its name
    settings: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks: those of their files."""
        return tuple(Path(config).stem for config in self.configs)


@dataclass(frozen=True)
class Study:
    """`settings` (section.key=value) apply to the warm start and to every arm; every `snapshots` steps an arm
    gives one point.

    `target` is the score that a shipped checkpoint must raise, `budget` the tax it may cost (nats per token).
    `keep_snapshots` says whose weights stay on disk once evaluated; final policies always do. `interpolate`:
    shares of an arm's way from the untouched model. `recommended` names the arm that the report tests its claim on
    (eval/study/claim.py); "" = none. `learning_rates` makes an arm of each rate out of every arm that
    names neither rates of its own nor train.optim.lr. So many arms as `side_by_side` run at a time on a device.
    """

    study_dir: str = "runs/study"  # the folder of the study
    config: str = (
        "configs/mt.toml"  # the configuration of a run that all arms begin from; its model begins a sequence
    )
    seeds: tuple[int, ...] = (0,)  # each has a warm start of its own
    settings: tuple[str, ...] = ()
    snapshots: int = 10
    target: Literal["cosine", "cosine_held_out", "chrf", "bleu", "rouge_l"] = "cosine_held_out"
    budget: float = 0.05
    keep_snapshots: Literal["front", "all", "none"] = "front"
    interpolate: tuple[float, ...] = ()
    recommended: str = ""
    learning_rates: tuple[float, ...] = ()
    side_by_side: int = 1
    arms: tuple[ArmConfig, ...] = ()
    transfer: TransferConfig | None = None
    sequence: SequenceConfig | None = None

    @property
    def folder(self) -> Path:
        return user_path(self.study_dir)

    def warm_start_folder(self, seed: int) -> Path:
        """The run folder whose warm_start/ every arm of the seed begins from."""
        return layout.warm_start_run(self.folder, seed)

    def arm_folder(self, name: str, seed: int) -> Path:
        """The run folder of one arm and seed; its result is policy/ in it."""
        return layout.arm_run(self.folder, name, seed)

    def model_of(self, name: str, seed: int) -> Path:
        """The model folder of the warm start, or the last policy of an arm."""
        if name == "warm_start":
            return self.warm_start_folder(seed) / "warm_start"
        return self.arm_folder(name, seed) / "policy"

    def point_path(self, name: str, seed: int, step: int) -> Path:
        """Where one evaluated checkpoint is written."""
        return layout.point_file(self.folder, name, seed, step)

    def warm_start_overrides(self, seed: int) -> list[str]:
        return [*self.settings, *self.run_overrides(seed, self.warm_start_folder(seed))]

    def arm_overrides(self, arm: ArmConfig, seed: int) -> list[str]:
        own = self.run_overrides(seed, self.arm_folder(arm.name, seed))
        snapshots = f"checkpoint.snapshots={self.snapshot_interval(arm)}"
        return [*self.settings, *arm.settings, *own, snapshots]

    def run_overrides(self, seed: int, folder: Path) -> list[str]:
        """What every run of a study has of its own."""
        return ["eval.probes=false", f"seed={seed}", override("run_dir", folder)]

    def model_overrides(self, seed: int, policy: str = "") -> list[str]:
        """The settings by which another task begins from a model folder; "" = the untouched model of the study."""
        model = self.warm_start_config(seed).model
        own = override("model.policy", policy or model.policy)
        return [own, override("model.vocabulary", model.vocabulary)]

    def snapshot_interval(self, arm: ArmConfig) -> int:
        """Steps from one snapshot of the arm to the next."""
        return arm.snapshots or self.snapshots

    def warm_start_config(self, seed: int) -> Config:
        """The configuration that trains the warm start and evaluates every point of the seed."""
        return load_config(self.config, self.warm_start_overrides(seed))

    def arm_config(self, arm: ArmConfig, seed: int) -> Config:
        return load_config(self.config, self.arm_overrides(arm, seed))

    def arm(self, name: str) -> ArmConfig:
        """Raises InputError for a name that is no arm."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise InputError(
            f"{name}: no arm of this study; its arms are {', '.join(arm.name for arm in self.arms) or 'none'}"
        )


def override(key: str, value: object) -> str:
    """`key=value` whose value is read back as this very text, whatever TOML would make of it."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}="{text}"'


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """TOML file and `key=value` overrides -> a checked Study, each of whose arms is a valid run. Raises
    InputError.
    """
    values = read_toml(Path(path))
    for text in overrides:
        apply_override(values, text)
    check_settings(values, str(path))
    arms = values.pop("arms", {})
    transfer = values.pop("transfer", None)
    sequence = values.pop("sequence", None)
    study: Study = build(Study, values, str(path))
    tasks = None if sequence is None else read_sequence(sequence, str(path))
    if not arms and (tasks is None or transfer is not None):
        raise InputError(f"{path}: {NO_ARMS}")
    if not arms and tasks and "config" not in values:
        study = replace(study, config=tasks.configs[0])
    study = replace(
        study,
        settings=tuple(current_overrides(study.settings, str(path))),
        arms=read_arms(arms, str(path), study.learning_rates),
        transfer=None if transfer is None else read_transfer(transfer, str(path)),
        sequence=tasks,
    )
    check(study, str(path))
    if study.transfer is not None:
        load_config(study.transfer.config, study.transfer.settings)
    if study.sequence is not None:
        for settings in study.sequence.recipes.values():
            check_templates(study.sequence, settings, str(path))
    return replace(study, arms=tuple(resolve_arm(study, arm, str(path)) for arm in study.arms))


def read_arms(values: Any, path: str, rates: Sequence[float]) -> tuple[ArmConfig, ...]:
    """The arms of a file, each with every learning rate of its own or of the study."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: {NO_ARMS}")
    arms = []
    for name, value in values.items():
        if not ARM_NAME.fullmatch(name) or name in RESERVED:
            raise InputError(
                f"{path}: arms.{name}: no name for an arm; use a-z, 0-9, _ and -, and neither {' nor '.join(RESERVED)}"
            )
        if not isinstance(value, dict) or set(value) - {"settings", "start", "snapshots", "learning_rates"}:
            raise InputError(
                f'{path}: arms.{name}: an arm has settings = ["section.key=value", ...], start, snapshots, learning_rates, and nothing else'
            )
        own = setting_value(
            tuple[float, ...], value.get("learning_rates", [*rates]), path, f"arms.{name}.learning_rates"
        )
        rest = {key: one for key, one in value.items() if key != "learning_rates"}
        arm: ArmConfig = build(ArmConfig, rest, path, f"arms.{name}.", ArmConfig(name))
        arm = replace(arm, settings=tuple(current_overrides(arm.settings, path)))
        has_rate = any(one.partition("=")[0].strip() == RATE for one in arm.settings)
        arms += [arm] if has_rate or not own else [with_rate(arm, rate) for rate in own]
    if repeats := {arm.name for arm in arms if sum(arm.name == one.name for one in arms) > 1}:
        raise InputError(f"{path}: arms.{min(repeats)}: two arms of this name; each learning rate once")
    return tuple(arms)


def with_rate(arm: ArmConfig, rate: float) -> ArmConfig:
    """
    >>> with_rate(ArmConfig("sft"), 1e-05)
    ArmConfig(name='sft_1e-5', settings=('train.optim.lr=1e-05',), start='warm_start', snapshots=0, kind='grpo')
    >>> with_rate(ArmConfig("sgd"), 0.025).name
    'sgd_2_5e-2'
    """
    mantissa, exponent = f"{rate:.5e}".split("e")
    name = f"{arm.name}_{mantissa.rstrip('0').rstrip('.').replace('.', '_')}e{int(exponent)}"
    return replace(arm, name=name, settings=(*arm.settings, f"{RATE}={rate:.6g}"))


def read_transfer(values: Any, path: str) -> TransferConfig:
    if not isinstance(values, dict):
        raise InputError(f"{path}: transfer is a section; write its settings under [transfer]")
    transfer: TransferConfig = build(TransferConfig, values, path, "transfer.")
    return replace(transfer, settings=tuple(current_overrides(transfer.settings, path)))


def check_templates(sequence: SequenceConfig, settings: Sequence[str], path: str) -> None:
    """Raises InputError for a configuration that cannot be, and where a recipe's tasks ask in different words: a model
    would be measured on words that it was not taught.
    """
    configs = {name: load_config(name, [*sequence.settings, *settings]) for name in sequence.configs}
    templates = {config.prompt.template: name for name, config in configs.items()}
    if len(templates) > 1:
        (first, one), (second, other), *_ = templates.items()
        raise InputError(
            f"{path}: {one} has prompt.template = {first!r} and {other} {second!r}, and all tasks of a sequence are asked "
            f'in the same words; write ["prompt.template={second}"] into sequence.settings'
        )


def read_sequence(values: Any, path: str) -> SequenceConfig:
    """Raises InputError for what is no sequence of two tasks or more with a recipe."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: sequence is a section; write its settings under [sequence]")
    sequence: SequenceConfig = build(SequenceConfig, values, path, "sequence.")
    recipes = {name: tuple(current_overrides(settings, path)) for name, settings in sequence.recipes.items()}
    bad = [name for name in recipes if not ARM_NAME.fullmatch(name) or name in RESERVED]
    rules: list[Rule] = [
        (
            len(sequence.configs) < 2 or len(set(sequence.tasks)) < len(sequence.configs),
            'sequence.configs: two files or more of different names, e.g. ["configs/mt.toml", "configs/headline.toml"]',
        ),
        (not recipes, 'sequence.recipes: at least one, e.g. [sequence.recipes] sft = ["train.method=sft"]'),
        (
            bool(bad),
            f"sequence.recipes: {', '.join(bad)}: use a-z, 0-9, _ and -, and no {' or '.join(RESERVED)}",
        ),
    ]
    check_rules(rules, f"{path}: ")
    return replace(sequence, recipes=recipes, settings=tuple(current_overrides(sequence.settings, path)))


def check(study: Study, path: str) -> None:
    """InputError for what no study can do; each message names the key and a value that would do."""
    names = [arm.name for arm in study.arms]
    check_rules(
        [*study_rules(study, names), *arm_rules(study, names), *transfer_rules(study, names)], f"{path}: "
    )
    check_scope(study.settings, f"{path}: settings", STUDY_SETTINGS)
    for arm in study.arms:
        check_scope(arm.settings, f"{path}: arms.{arm.name}.settings", (*STUDY_SETTINGS, *SHARED))


def study_rules(study: Study, names: Sequence[str]) -> list[Rule]:
    """Of the settings of the study itself; `names` are those of its arms."""
    return [
        (not study.study_dir.strip(), "study_dir is empty; write a folder such as runs/study"),
        (not study.seeds or min(study.seeds) < 0, "seeds: at least one, none negative, e.g. [0, 1, 2]"),
        (len(set(study.seeds)) != len(study.seeds), f"seeds = {list(study.seeds)}: each seed once"),
        (
            study.snapshots < 1,
            f"snapshots = {study.snapshots}: an arm is evaluated every so many steps; use 1 or more",
        ),
        (
            bool(study.recommended) and study.recommended not in names,
            f"recommended = {study.recommended!r}: no arm of this study; its arms are {', '.join(names) or 'none'}",
        ),
        (
            not 1 <= study.side_by_side <= 64,
            f"side_by_side = {study.side_by_side}: arms that run at a time on a device, 1 to 64",
        ),
        (study.budget < 0, f"budget = {study.budget}: nats per token, not negative, e.g. 0.05"),
        (
            len({round(100 * share) for share in study.interpolate} & set(range(1, 100)))
            < len(study.interpolate),
            "interpolate: shares between 0 and 1, a whole per cent each and none twice, e.g. [0.25, 0.5, 0.75]",
        ),
    ]


def arm_rules(study: Study, names: Sequence[str]) -> Iterator[Rule]:
    """Of each arm: it begins from one that is above it."""
    for number, arm in enumerate(study.arms):
        starts = (*RESERVED, *names[:number])
        yield (
            arm.start not in starts,
            f"arms.{arm.name}.start = {arm.start!r}: known here are {', '.join(starts)}",
        )
        yield (
            arm.snapshots < 0,
            f"arms.{arm.name}.snapshots = {arm.snapshots}: every so many steps, or 0 for those of the study",
        )


def transfer_rules(study: Study, names: Sequence[str]) -> list[Rule]:
    """Of [transfer], where there is one."""
    if study.transfer is None:
        return []
    wrong_starts = [start for start in study.transfer.starts if start not in (*RESERVED, *names)]
    return [
        (
            bool(wrong_starts),
            f"transfer.starts: {', '.join(wrong_starts)}: neither {', '.join(RESERVED)} nor an arm of this study",
        ),
        (
            not all(count > 0 for count in study.transfer.examples),
            "transfer.examples: at least 1 each, e.g. [50, 200, 1000]",
        ),
    ]


def check_scope(settings: Sequence[str], place: str, taken: Sequence[str]) -> None:
    """InputError for a setting of `taken`: those that the study makes, and for an arm those of the warm start and the
    evaluation, which all arms share.
    """
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key in taken or key.split(".")[0] in taken:
            whose = (
                "the study itself sets it"
                if key in STUDY_SETTINGS
                else "all arms share it; write it into the settings of the study"
            )
            raise InputError(f"{place}: {key}: {whose}")


def resolve_arm(study: Study, arm: ArmConfig, path: str) -> ArmConfig:
    """The arm with its kind, once its settings have made a valid configuration with a reward that can be
    computed.
    """
    study.warm_start_config(study.seeds[0])
    try:
        config = study.arm_config(arm, study.seeds[0])
        for language, setting in config.data.completion_languages.items():
            check_reward(config.reward, language, setting)
    except InputError as error:
        raise InputError(f"{path}: arms.{arm.name}: {error}") from error
    return replace(arm, kind=config.train.method)
