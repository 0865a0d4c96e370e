"""What `--check` says of a run before its bill: policy, corpus, reward, the settings that were changed, and what is
likely to go wrong.
"""

from dataclasses import asdict
from textwrap import wrap

from data.documents import user_path
from data.prepare import Corpus
from data.system import total_memory_bytes
from eval.forgetting.languages import foreign_note
from grpo.config import WITHOUT_REWARD, Config
from grpo.config_file import changed_settings, toml_value
from grpo.stages.context import shots_and_others
from grpo.stages.dry_run import Inputs
from grpo.stages.lengths import warm_start_pairs
from grpo.stages.mixing import repeat_note
from grpo.stages.plan import Plan

WIDTH = 100  # of a line
LABEL = 13  # columns in front of what a line says, as in the bill


def overview_lines(config: Config, inputs: Inputs) -> list[str]:
    """What runs, and the settings that differ from the defaults."""
    lines = [
        *label_lines("run", f"{config.run_dir}, seed {config.seed}"),
        *label_lines("policy", policy_text(config, inputs)),
        *label_lines("corpus", corpus_text(config, inputs.corpus)),
    ]
    if config.train.method not in WITHOUT_REWARD:
        lines += label_lines("reward", reward_text(config))
    settings = [f"{name}={toml_value(value)}" for name, value in changed_settings(config).items()]
    return [*lines, *label_lines("not default", "  ".join(settings) or "no setting")]


def policy_text(config: Config, inputs: Inputs) -> str:
    """The model, and where it is."""
    if not inputs.model:
        return f"{config.model.policy}, not there yet (the stage model makes it)"
    is_folder = inputs.model == user_path(config.model.policy)
    return config.model.policy if is_folder else f"{config.model.policy}, in {inputs.model}"


def corpus_text(config: Config, corpus: Corpus | None) -> str:
    """The corpora, and how many examples each part has."""
    names = ", ".join(one.pairs for one in config.data.members.values())
    if corpus is None:
        return f"{names}, not prepared yet (the stage data does it)"
    counts = ", ".join(f"{name} {len(examples):,}" for name, examples in corpus.parts.items())
    return f"{names}, {config.data.completion_language} is written: {counts}"


def reward_text(config: Config) -> str:
    """The sum, what multiplies it, and its encoder."""
    reward = config.reward
    terms = " + ".join(f"{weight:g} {name}" for name, weight in reward.weights.items())
    gates = f", times {', '.join(reward.gates)}" if reward.gates else ""
    return f"{terms}{gates}; encoder {reward.encoder}"


def notes_of(config: Config, inputs: Inputs) -> list[str]:
    """A line for each thing that is likely to surprise."""
    notes = []
    if config.eval.probes:
        notes.append(foreign_note(asdict(config)))
    if inputs.corpus and config.sft.num_steps:
        num_pairs = len(warm_start_pairs(config, inputs.corpus))
        most = config.sft.max_pairs or num_pairs
        notes.append(repeat_note("sft.batch_size", config.sft.batch_size, min(num_pairs, most)))
    if inputs.corpus and config.train.num_steps and config.train.method != "recovery":
        num_pairs = len(shots_and_others(config, inputs.corpus)[1])
        notes.append(repeat_note("rollout.num_prompts", config.rollout.num_prompts, num_pairs))
    return [f"NOTE: {note}" for note in notes if note]


def warnings_of(bill: Plan) -> list[str]:
    """A line for each thing that is likely to stop the run, none where nothing is."""
    memory = total_memory_bytes()
    if bill.memory_bytes <= memory:
        return []
    return [
        f"WARNING: the run takes about {bill.memory_bytes / 1e9:.1f} GB and this machine has {memory / 1e9:.1f} GB; "
        "docs/memory.md says what takes less"
    ]


def label_lines(label: str, text: str) -> list[str]:
    """The text behind its label, in lines of `WIDTH` columns.

    >>> label_lines("corpus", "pairs.tsv")
    ['corpus       pairs.tsv']
    """
    own = wrap(text, WIDTH - LABEL, break_long_words=False, break_on_hyphens=False)
    return [f"{label if not number else '':{LABEL}}{line}" for number, line in enumerate(own)]
