"""The text of a first configuration: each setting with its reason. It leaves out what the defaults say as well."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from data.documents import CONFIGS
from data.language_names import language_name
from data.script import script_of, unit_name
from data.settings import build
from data.system import total_memory_bytes
from grpo.config import Config
from grpo.config_file import toml_value
from grpo.init.corpus_facts import CorpusFacts
from grpo.init.model_facts import ROOM, ModelFacts, round_up
from grpo.runtime.device import Compute
from grpo.stages.plan import known_model, make_plan
from reward.composite import COMPOSITE_GATES, COMPOSITE_SETTINGS, is_known_to_use

TEST_SIZE = 500
DEV_SIZE = 200
EPOCHS = 3.0  # of the warm start, which still gains in the fourth (docs/results/rivals.md)
FEWEST_STEPS = 60
MOST_STEPS = {"cpu": 300, "accelerator": 1000}
LEAST_SHARE = 5  # a test set has at most one in so many pairs
VERDICT = 30  # test items that a verdict needs
FREE_SHARE = 0.8  # of the machine's memory that a run may take
NOTE_COLUMN = 34


@dataclass(frozen=True)
class Answers:
    """What the user said."""

    run_dir: str
    encoder: str


Row = tuple[str, Any, str]  # a setting, its value, the reason


def config_text(
    corpus: CorpusFacts, model: ModelFacts, pairs: int, compute: Compute, answers: Answers, test_share: int
) -> str:
    """The TOML text. One pair in `test_share` of a small corpus is for the test set, and half as many for dev. Batches
    are halved until the bill fits into the memory of the machine.
    """
    batch = 32 if compute.device.type != "cpu" else 16
    while True:
        rows = {
            "": [("run_dir", answers.run_dir, "everything that the run makes")],
            "data": [
                *data_rows(corpus),
                *size_rows(pairs, test_share),
                ("warm_start_share", 0.0, "no pair is kept from GRPO"),
            ],
            "model": list(model_rows(model, corpus)),
            "prompt": [("template", model.template, model.reason)],
            "reward": list(reward_rows(corpus, answers.encoder)),
            **training_rows(model, training_pairs(pairs, test_share), batch, compute),
        }
        need, memory = bill(rows, compute)
        if batch == 1 or need <= FREE_SHARE * memory:
            break
        batch //= 2
    head = f"# For {corpus.location} and {model.policy}: {model.words}.\n"
    fit = "fits into" if need <= FREE_SHARE * memory else "is too much for"
    head += (
        f"# A run takes about {need / 1e9:.1f} GB, which {fit} the {memory / 1e9:.1f} GB of this machine.\n"
    )
    head += "# What is not here has its default (grpo/config.py). docs/training.md and docs/corpus.md say what settings do.\n"
    return head + "".join(section_text(name, own) for name, own in rows.items() if own)


def section_text(name: str, rows: list[Row]) -> str:
    """A section with its reasons in a column."""
    lines = [f"\n[{name}]"] if name else []
    for key, value, reason in rows:
        setting = f"{key} = {toml_value(value)}"
        lines.append(f"{setting:{NOTE_COLUMN}}  # {reason}" if reason else setting)
    return "\n".join(lines) + "\n"


def data_rows(corpus: CorpusFacts) -> Iterator[Row]:
    """The file, its columns, languages and lengths."""
    yield "corpus", corpus.location, f"{corpus.kind.lstrip('.') or 'text'}"
    if corpus.columns:
        yield "source_column", corpus.columns[0], ""
        yield "reference_column", corpus.columns[1], ""
    if corpus.task:
        yield "task", corpus.task, "as you said"
    for key, side in (("source_language", corpus.source), ("target_language", corpus.reference)):
        yield key, side.language, side.reason
    for name, side in (("source", corpus.source), ("target", corpus.reference)):
        unit = unit_name(script_of(side.language))
        if side.shortest < 2:
            yield f"min_{name}_units", 1, "some texts are that short"
        yield f"max_{name}_units", side.longest, f"99 % of the {name} texts have no more {unit}"


def size_rows(pairs: int, share: int) -> Iterator[Row]:
    """The sizes of test and dev set, where the corpus is small."""
    least = VERDICT if pairs >= VERDICT * LEAST_SHARE else 1
    test = min(TEST_SIZE, max(pairs // share, least))
    dev = min(DEV_SIZE, pairs // (2 * share))
    if test < TEST_SIZE:
        yield (
            "test_size",
            test,
            f"one in {pairs // test} of about {pairs:,} pairs; fewer than {VERDICT} give no verdict",
        )
        yield "test_min_per_language", 0, ""
    if dev < DEV_SIZE:
        yield "dev_size", max(1, dev), ""


def training_pairs(pairs: int, share: int) -> int:
    """Pairs that are left for training."""
    sizes = {key: value for key, value, _ in size_rows(pairs, share)}
    return max(1, pairs - sizes.get("test_size", TEST_SIZE) - sizes.get("dev_size", DEV_SIZE))


def model_rows(model: ModelFacts, corpus: CorpusFacts) -> Iterator[Row]:
    """The model and its limit of tokens."""
    yield "policy", model.policy, model.words
    if model.vocabulary == "full":
        yield "vocabulary", "full", "the trimmed one is for Tibetan, Chinese and common Latin"
    how = (
        "99 % of the prompts have no more"
        if model.is_counted
        else "guessed; the stage model counts and says more"
    )
    yield "max_prompt_tokens", model.tokens[0], how


def reward_rows(corpus: CorpusFacts, encoder: str) -> Iterator[Row]:
    """The encoder that knows the language of the reference texts, or a reward without one."""
    language = corpus.reference.language
    if encoder:
        yield "encoder", encoder, "as you said"
    elif is_known_to_use(language):
        yield "encoder", "use", f"the built-in encoder knows {language_name(language)}"
    else:
        name = language_name(language)
        yield (
            "weights",
            {"chrf": 1.0},
            f"the built-in encoder does not know {name}, so form is rewarded, not meaning;",
        )
        yield (
            "shown",
            [],
            "better: encoder = a folder of one that does (docs/reward.md), without these two lines",
        )
    yield "gates", list(COMPOSITE_GATES), "attacks earn at most 60 % (docs/results/attacks.md)"
    yield "settings", COMPOSITE_SETTINGS, ""


def steps_reason(passes: float) -> str:
    """Why so many updates of the warm start, which are so many passes over the pairs."""
    if passes < 0.9 * EPOCHS:
        return f"{passes:.2g} passes over the pairs; more takes longer"
    if passes > 1.1 * EPOCHS:
        return f"{passes:.0f} passes over the pairs, as fewer steps teach little"
    return f"{EPOCHS:.0f} passes over the pairs"


def training_rows(model: ModelFacts, pairs: int, batch: int, compute: Compute) -> dict[str, list[Row]]:
    """Warm start, rollout and updates."""
    on_card = compute.device.type != "cpu"
    most = MOST_STEPS["accelerator" if on_card else "cpu"]
    steps = min(most, max(FEWEST_STEPS, round(pairs * EPOCHS / batch)))
    new = round_up(ROOM * model.tokens[1])
    tokens = 8192 if on_card else max(640, model.tokens[0] + new)
    passes = "a large pass fills an accelerator" if on_card else "a CPU gains nothing from larger passes"
    rate = {"lr": 5e-5, "schedule": "linear", "warmup_steps": 5, "weight_decay": 0.01, "final_lr_share": 0.1}
    return {
        "sft": [
            ("num_steps", steps, steps_reason(steps * batch / pairs)),
            ("pairs", "all", "the warm start and GRPO learn from the same pairs"),
            ("batch_size", batch, "by the memory of this machine"),
            ("max_completion_tokens", new, "the usual length of a reference text, and a quarter"),
            ("max_tokens_per_pass", tokens, passes),
            ("optim", rate, ""),
        ],
        "anchor": anchor_rows(on_card),
        "rollout": [
            ("num_prompts", batch, ""),
            ("group_size", 8, "completions of a prompt, which are compared"),
            ("max_new_tokens", new, "as sft.max_completion_tokens"),
        ],
        "advantage": [("scale", "none", "less KL for the same gain (docs/results/rivals.md)")],
        "loss": [("kl_coef", 0.05, "keeps GRPO near the warm start")],
        "train": [
            ("num_steps", 120 if on_card else 40, "more is possible later: the learning rate stays as it is"),
            ("max_tokens_per_pass", tokens, ""),
            ("optim", {"lr": 1e-5, "warmup_steps": 3}, ""),
        ],
        "eval": [("max_new_tokens", new, "")],
        "checkpoint": [("every", 20, "")],
    }  # fmt: skip


def anchor_rows(on_card: bool) -> list[Row]:
    """An accelerator has time for more general texts, and for an anchor behind the warm start."""
    reason = "keeps the model near the untouched one on general text, against forgetting"
    if not on_card:
        return [("sft", 1.0, reason)]
    return [
        ("sft", 4.0, reason),
        ("train", 4.0, ""),
        ("batch_size", 16, "general texts an update"),
        ("texts", 1024, ""),
    ]


def bill(rows: dict[str, list[Row]], compute: Compute) -> tuple[float, float]:
    """Bytes that a run takes at its peak, and those that there are: of the accelerator, or of the host without one."""
    values: dict[str, Any] = {}
    for section, own in rows.items():
        target = values.setdefault(section, {}) if section else values
        target |= {key: value for key, value, _ in own}
    config: Config = build(Config, values, "init")
    plan = make_plan(config, known_model(config), compute)
    if plan.card:
        return plan.card.memory.peak, plan.card.size
    return plan.memory_bytes, total_memory_bytes()


def name_of(location: str) -> str:
    """The name of a corpus, for its configuration; another one where a configuration of the package has it."""
    name = Path(location.split(",")[0]).name.split(".")[0]
    ours = {path.stem.casefold() for path in CONFIGS.glob("*.toml")}  # each makes runs/STEM
    return f"{name}_own" if name.casefold() in ours else name


def free_run_dir(name: str) -> str:
    """runs/NAME, with a number where that folder has something in it."""
    names = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(path for path in map("runs/{}".format, names) if is_free(Path(path)))


def is_free(path: Path) -> bool:
    """Whether nothing is there, or only an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))
