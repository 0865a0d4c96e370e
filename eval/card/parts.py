"""The sections of a card. What the run folder lacks is said in its section; nothing is invented."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.documents import read_object
from data.language_names import short_name
from data.prompt_record import FILE as PROMPT_FILE
from data.prompt_record import load_wording as wording_of
from data.prompt_record import read_record
from eval.card.head import base_of, licence_of_model
from eval.report.blocks import Table, with_rows
from eval.report.corpus_tables import origin_table, part_table
from eval.report.findings import budget_sentences
from eval.report.gaps import gaps
from eval.report.learned import learned_changes, learned_table
from eval.report.markdown import escape, table_markdown
from eval.report.tables import change_table, overall_table, probe_table
from eval.report.wording import MIN_ITEMS, plain_number
from eval.run_folder import RunFolder
from grpo.engine.licences import GEMMA, licence_files
from reward.combine import keywords
from reward.own_term import is_own_term
from reward.terms import TERMS

ATTACKS_FILE = "attacks.json"  # in the run folder, as `python -m eval.attacks --out RUN/attacks` writes it
WORST = 5  # attacks that a card lists
METHOD_WORDS = {
    "grpo": "GRPO: completions are sampled, and their rewards move the policy",
    "sft": "SFT on the reference texts",
    "best_of_group": "SFT on the best of the model's own samples, by the reward",
    "recovery": "distillation from the untouched model on general texts",
    "self_distillation": "distillation from the model with a demonstration in its prompt",
}
GEMMA_WORDS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. This model is a "
    "Model Derivative of Gemma: its weights were changed by training. Use is restricted as set out in these terms and in "
    "ai.google.dev/gemma/prohibited_use_policy. Whoever passes the model on must pass on the terms and the `Notice` file."
)

UNKNOWN_WORDS = (
    "The licence of the base model is not known: its folder had no licence text that says one, and no README that names "
    "one. Find it out, and add its text to this folder, before you pass the model on."
)


def about(run: RunFolder, system: str) -> Iterator[str]:
    """What the model does."""
    facts = run.systems.get(system) or next(iter(run.main.systems.values()), {})
    splits = run.corpus.get("manifest", {}).get("splits", {})
    sources = sorted({name for part in splits.values() for name in part["languages"]})
    names = ", ".join(map(short_name, sources))
    if names and facts:
        yield f"A language model for short texts, from {names} to {short_name(facts['target_language'])}."
    else:
        yield "The run folder does not say for which languages: it has no corpus.json or no evaluation."
    base = base_of(run)
    yield (
        f"It was trained from {escape(base)}; all weights were trained."
        if base
        else "The run folder does not name the base model."
    )


def prompt(run: RunFolder, policy: Path) -> Iterator[str]:
    """How to ask the model: the saved prompt, and as many tokens of an answer as in the evaluation."""
    path = policy / PROMPT_FILE
    if not path.exists():
        yield f"The folder has no {PROMPT_FILE}, so how the model was asked in training is not recorded."
        return
    facts = read_record(policy, ("kinds", "servers_ask_rightly", "stops", "end"))
    yield "The model knows this prompt only. `{source}` is the text, with nothing added before or after it:"
    for kind in facts["kinds"]:
        yield f"```text\n{kind.get('prompt', '')}\n```"
    if facts["servers_ask_rightly"]:
        yield "The chat template of the tokenizer writes this prompt around the one message of the user:"
        yield "```python\n" + SNIPPET.replace("NUMBER", str(answer_tokens(run))) + "\n```"
    else:
        yield "The chat template of the tokenizer does not write it; build the text yourself, after the start token."
    ends = ", ".join(map(str, facts["stops"][:8]))
    more = " and others in prompt.json" if len(facts["stops"]) > 8 else ""
    if facts["stops"] == [facts["end"]]:
        yield f"An answer ends with the token {ends}, at which decoding stops."
    else:
        yield f"An answer ends with the token {facts['end']}; decoding stops at the tokens {ends}{more}."


USUAL_TOKENS = 64  # of an answer
SNIPPET = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "THIS_FOLDER"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
messages = [{"role": "user", "content": "SOURCE TEXT"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens=NUMBER, do_sample=False)
print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))"""


def answer_tokens(run: RunFolder) -> int:
    """The most tokens of an answer in the evaluation, where the run folder says it."""
    limits = run.corpus.get("limits", {})  # in the place of settings that are 0
    return run.config.get("eval", {}).get("max_new_tokens") or limits.get("eval.max_new_tokens", USUAL_TOKENS)


def method(run: RunFolder, system: str) -> Iterator[str]:
    """How the model of a system was trained."""
    config = run.config
    if not {"sft", "train", "reward"} <= config.keys():
        yield "config.json of the run folder lacks the sections sft, train or reward."
        return
    yield warm_start_words(config)
    if system != "warm_start":
        yield train_words(config, system)
    yield f"Seed {config['seed']}. Made with semantic-grpo{commit(run)}."


def warm_start_words(config: dict[str, Any]) -> str:
    """The warm start in words."""
    sft = config["sft"]
    if not sft["num_steps"]:
        return "There was no warm start."
    return (
        f"Warm start: SFT with {plain_number(sft['num_steps'])} updates of {sft['batch_size']} pairs, "
        f"{sft['optim']['name']}, lr {sft['optim']['lr']:g}{anchor_words(config, 'sft')}."
    )


def train_words(config: dict[str, Any], system: str) -> str:
    """The stage behind the warm start in words."""
    train = config["train"]
    if not train["num_steps"]:
        return "No training followed."
    samples = ""
    if train["method"] in ("grpo", "best_of_group"):
        rollout = config["rollout"]
        samples = (
            f" {reward_words(config['reward'])} {rollout['group_size']} completions for each of "
            f"{rollout['num_prompts']} prompts a step."
        )
    kept = ", of which the step that did best on the dev set was kept" if system == "trained_best" else ""
    return (
        f"Then {METHOD_WORDS[train['method']]}, {plain_number(train['num_steps'])} steps{kept}, "
        f"lr {train['optim']['lr']:g}{anchor_words(config, 'train')}.{samples}"
    )


def reward_words(reward: dict[str, Any]) -> str:
    """Terms that count, gates, and the encoder where one of them asks it."""
    weights = {name: weight for name, weight in reward["weights"].items() if weight}
    terms = ", ".join(f"{weight:g} x {shown_name(name)}" for name, weight in weights.items())
    gates = ", ".join(map(shown_name, reward["gates"])) or "none"
    names = (*weights, *reward["gates"])
    encoder = "; no encoder"
    if any(map(takes_vectors, names)):
        encoder = f"; encoder: {encoder_words(reward)}"
    elif any(map(is_own_term, names)):  # the user's file is not read here
        encoder = f"; encoder, if an own term asks one: {encoder_words(reward)}"
    return f"Reward: {terms}; gates: {gates}{encoder}."


def takes_vectors(term: str) -> bool:
    """Whether a term of this project asks the encoder."""
    return term in TERMS and "vectors" in keywords(TERMS[term])


def encoder_words(reward: dict[str, Any]) -> str:
    """The encoder, and those of some target languages."""
    own = (f"{shown_name(name)} for {short_name(code)}" for code, name in reward.get("encoders", {}).items())
    return ", ".join([shown_name(reward["encoder"]), *own])


def anchor_words(config: dict[str, Any], stage: str) -> str:
    """The anchor of a stage in words."""
    weight = config.get("anchor", {}).get(stage, 0)
    return f", with an anchor to the untouched model of weight {weight:g}" if weight else ""


def shown_name(setting: str) -> str:
    """A setting that may be a path, without its folders."""
    return setting if "/" not in setting else Path(setting).name


def commit(run: RunFolder) -> str:
    """The commit of the code, where it is known."""
    name = run.environment.get("commit", "")
    return f", commit {name}" if name else ""


def results(run: RunFolder, system: str) -> Iterator[str]:
    """Scores with intervals, on each test set."""
    if not any(view.systems for view in run.views.values()):
        yield "The run was not evaluated: its folder has no results."
    for name, view in run.views.items():
        if not view.systems:
            continue
        title = f"Test set {name}" if name else "Test set"
        changes = change_table(view, "warm_start", system)
        tables = [overall_table(view, title), changes, learned_table(view), learned_changes(view, system)]
        yield from map(table_markdown, with_rows(tables))
        if not changes.rows:
            yield f"{view.label(system)} was not compared with the warm start, so there are no intervals."


def cost(run: RunFolder, system: str) -> Iterator[str]:
    """What training cost elsewhere."""
    table = probe_table(run.main, system)
    yield (
        table_markdown(table) if table.rows else "Not measured: the run has no probes of general competence."
    )
    yield from budget_sentences(run)


def attacks(run: RunFolder) -> Iterator[str]:
    """What the reward pays for cheap attacks, where it was measured."""
    path = run.path / ATTACKS_FILE
    if not path.exists():
        yield f"What the reward pays for cheap attacks was not measured (no {ATTACKS_FILE} in the run folder)."
        return
    facts = read_object(path)
    column = list(facts["rows"][0]["margin"])[-1]
    rows = sorted(facts["rows"], key=lambda row: row["margin"][column])[:WORST]
    cells = tuple((row["name"], f"{row['cosine']:.3f}", f"{row['margin'][column]:+.3f}") for row in rows)
    header = ("Written instead", "Cosine", "1 - R / R(reference text)")
    yield table_markdown(
        Table(f"The {len(rows)} attacks that earn most, of {len(facts['rows'])}", header, cells)
    )


def data(run: RunFolder, policy: Path) -> Iterator[str]:
    """The corpus and its licences."""
    manifest = run.corpus.get("manifest", {})
    if not manifest:
        yield "The run folder has no corpus.json, so data and licences are not recorded."
        return
    splits = manifest.get("splits", {})
    yield table_markdown(part_table(splits))
    yield table_markdown(origin_table(manifest.get("origins", {}), splits))
    shots = wording_of(policy).shots
    texts = (
        f"{PROMPT_FILE} holds {len(shots)} pairs of the corpus, the examples of the prompt"
        if shots
        else "no text of the corpus"
    )
    yield f"In this folder: {texts}."


def limits(run: RunFolder) -> Iterator[str]:
    """What the numbers do not show."""
    config = run.config.get("data", {})
    lengths = [config.get(f"max_{side}_units") for side in ("source", "target")]
    if all(lengths):
        yield f"- Training saw source texts of up to {lengths[0]} units and reference texts of up to {lengths[1]}."
    yield "- One seed. Intervals are over test items and do not cover training again."
    yield "- All scores are automatic. No reader of the language has judged the outputs for this card."
    yield f"- Fewer than {MIN_ITEMS} test items decide nothing."
    yield from (f"- {escape(gap)}" for gap in gaps(run))


def licence(run: RunFolder, policy: Path) -> Iterator[str]:
    """The licence of the base model and the files that carry it."""
    name = licence_of_model(run, policy)
    if name == GEMMA:
        yield GEMMA_WORDS
    elif name:
        yield f"The base model is under {name}, and so is this model."
    else:
        yield UNKNOWN_WORDS
    files = ", ".join(f"`{path.name}`" for path in licence_files(policy))
    yield f"Licence texts in this folder: {files}." if files else "This folder has no licence text."
