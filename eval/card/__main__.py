"""`python -m eval.card RUN`: writes the model card, README.md of the policy's folder, from the run folder alone.

The same folder gives the same card, byte for byte. A README.md that this command did not write stays as it is.
"""

import copy
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.console import say
from data.errors import InputError, run_command
from eval.card import parts
from eval.card.head import head, licence_of_model
from eval.report.markdown import escape
from eval.report.write import make_or_name_damage
from eval.run_folder import RunFolder, read_run
from grpo.engine.licences import GEMMA, NOTICE, NOTICE_FILE, TERMS_FILE
from grpo.old_names import ADDED, current_table
from grpo.runtime.old_folders import update_names

CARD = "README.md"
MARK = "<!-- written by semantic-grpo card -->"
SYSTEMS = {"policy": "trained", "policy_best": "trained_best", "warm_start": "warm_start"}
ELSEWHERE = "ai.google.dev/gemma/terms"


def card_text(run: RunFolder, name: str) -> str:
    """The card of the model in the folder `name` of a run."""
    policy = run.path / name
    system = SYSTEMS[name]
    sections = {
        "How to ask it": parts.prompt(run, policy),
        "How it was trained": parts.method(run, system),
        "Results": parts.results(run, system),
        "What it cost elsewhere": parts.cost(run, system),
        "Attacks on the reward": parts.attacks(run),
        "Data and licences": parts.data(run, policy),
        "Limits": parts.limits(run),
        "Licence": parts.licence(run, policy),
    }
    body = [f"# {escape(run.path.resolve().name)}", *parts.about(run, system)]
    for title, texts in sections.items():
        body += [f"## {title}", *texts]
    return without_folders(
        f"{head(run, system, policy)}\n{MARK}\n\n{joint_text(body)}\n", run.config.get("reward", {})
    )


def without_folders(text: str, reward: Mapping[str, Any]) -> str:
    """A text in which the encoders and terms of a reward have no folders: a signature may hold the place of one on this
    machine.
    """
    for name in sorted(absolute_names(reward), key=len, reverse=True):
        for spelling in (name, escape(name)):
            text = text.replace(spelling, parts.shown_name(name))
    return text


def absolute_names(value: Any) -> set[str]:
    """The absolute paths among settings, also behind a kind (`static:/a`)."""
    if isinstance(value, Mapping):
        return absolute_names([*value, *value.values()])
    if isinstance(value, list):
        return {name for one in value for name in absolute_names(one)}
    places = (value, value.partition(":")[2]) if isinstance(value, str) else ()
    return {value} if any(Path(place).expanduser().is_absolute() for place in places) else set()


def joint_text(blocks: Iterable[str]) -> str:
    """Blocks with an empty line between two, and none between two entries of a list."""
    text = ""
    before = ""
    for block in blocks:
        text += (
            ("\n" if before.startswith("- ") and block.startswith("- ") else "\n\n") + block
            if text
            else block
        )
        before = block
    return text


def write_card(folder: Path, name: str) -> Path:
    """Write the card of a run's model, and Gemma's notice where the model is a Gemma without one. Raises InputError
    where there is no such model, or a README.md that was written by someone else.
    """
    update_names(folder)
    run = read_run(folder)
    run = replace(run, config=settings_of_now(run.config, str(folder / "config.json")))
    policy = folder / name
    if not (policy / "config.json").is_file():
        raise InputError(
            f"{policy}: there is no model; finish the run first, or name one by --model {'|'.join(SYSTEMS)}"
        )
    path = policy / CARD
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{path}: was not written by this command and stays as it is; move it away first")
    if licence_of_model(run, policy) == GEMMA and not (policy / NOTICE_FILE).exists():
        terms = TERMS_FILE if (policy / TERMS_FILE).exists() else ELSEWHERE
        atomic_write_text(
            policy / NOTICE_FILE, NOTICE.format(terms=terms, changes="all weights were trained.")
        )
    atomic_write_text(path, make_or_name_damage(run, lambda contents: card_text(contents, name)))
    return path


def settings_of_now(config: dict[str, Any], place: str) -> dict[str, Any]:
    """A configuration, maybe of an earlier version, under the names of now and with what that version lacked, in the
    sections that it has.
    """
    present = copy.deepcopy(current_table(config, place))
    for key, value in ADDED.items():
        *sections, name = key.split(".")
        table = present
        for section in sections:
            table = table.get(section, {})
        table.setdefault(name, value)
    return present


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m eval.card", description="Write the card of a trained model.")
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--model", choices=SYSTEMS, default="policy", help="which model of the run (default: policy)"
    )
    options = parser.parse_args(argv)
    return run_command(lambda: say(f"card: {write_card(options.run, options.model)}"))


if __name__ == "__main__":
    sys.exit(main())
