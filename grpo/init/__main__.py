"""`python -m grpo.init PAIRS --model MODEL`: writes a first configuration, with a reason for every setting.

In a terminal it asks for what the command line leaves out. It looks at the parallel file and at the model's folder,
downloads nothing, and never writes over a file. A small corpus is prepared as the run would do it.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import get_args, get_type_hints

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.config import DataConfig
from data.console import say
from data.documents import user_path
from data.errors import InputError, run_command
from data.language_names import is_language, language_meant, language_name
from grpo.config import DEFAULT_POLICY
from grpo.init import corpus_facts, model_facts
from grpo.init.text import Answers, free_run_dir, name_of
from grpo.init.trial import text_that_fits
from grpo.runtime import device
from grpo.stages.plan import lines_of

# of data.task
TASKS = tuple(filter(None, get_args(get_type_hints(DataConfig)["task"])))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m grpo.init", description="Write a first configuration.")
    parser.add_argument("pairs", nargs="*", help="the parallel file, or SOURCE.txt REFERENCE.txt")
    parser.add_argument("--model", default="", help=f"a model's folder, hub:OWNER/NAME, or {DEFAULT_POLICY}")
    parser.add_argument(
        "--from", dest="source", default="", metavar="CODE", help="the language of the source texts"
    )
    parser.add_argument("--to", dest="target", default="", metavar="CODE", help="the language to learn")
    parser.add_argument(
        "--task", default="", choices=TASKS, help="what the reference texts are (default: translation)"
    )
    parser.add_argument(
        "--columns", nargs=2, metavar=("SOURCE", "REFERENCE"), help="names or numbers of two columns"
    )
    parser.add_argument(
        "--encoder", default="", help="an encoder that knows the language to learn (docs/reward.md)"
    )
    parser.add_argument(
        "--out", type=Path, help="the file to write (default: NAME.toml by the name of the corpus)"
    )
    return parser.parse_args(argv)


def answer(choice: str, question: str, default: str) -> str:
    """What the command line gives, else what the user types; `default` for an empty line. Raises InputError where
    nobody can be asked and there is no default.
    """
    if choice:
        return choice
    if sys.stdin.isatty():
        suffix = f" [{default}]" if default else ""
        choice = input(f"{question}{suffix}: ").strip()
    if not (choice or default):
        raise InputError(f"init: no {question}; write semantic-grpo init PAIRS --model MODEL")
    return choice or default


def check_codes(options: argparse.Namespace) -> None:
    """Raises InputError for a language that is no code."""
    for option, language in (("--from", options.source), ("--to", options.target)):
        if language and not is_language(language):
            code = language_meant(language)
            hint = f'write "{code}"' if code else "write one of ISO 639, such as bo, bod or bod_Tibt"
            raise InputError(f"init: {option} {language}: a code is needed; {hint}")


def check_task(corpus: corpus_facts.CorpusFacts) -> None:
    """Raises InputError where both texts are in one language and nobody says what the reference texts are."""
    language = corpus.reference.language
    if not corpus.task and corpus.source.language == language:
        name = language_name(language)
        raise InputError(
            f"init: source and reference texts are both in {name}; say what the reference texts are by --task {', '.join(TASKS)}"
        )


def command(options: argparse.Namespace) -> None:
    pairs = answer(
        ",".join(options.pairs), "parallel file (.tsv, .csv, .jsonl, ... or SOURCE.txt,REFERENCE.txt)", ""
    )
    out = user_path(str(options.out or f"{name_of(pairs)}.toml"))
    columns = tuple(options.columns) if options.columns else None
    check_codes(options)
    corpus = corpus_facts.look(pairs, (options.source, options.target), columns, options.task)
    check_task(corpus)
    check_free(out)
    policy = answer(options.model, "model (a folder, hub:OWNER/NAME, or the default)", DEFAULT_POLICY)
    model = model_facts.look(policy, corpus)
    compute = device.choose("auto", "auto")
    rows = len(corpus.pairs)
    count = max(lines_of(pairs), rows) if corpus.has_more else rows
    answers = Answers(free_run_dir(name_of(pairs)), options.encoder)
    text, remarks = text_that_fits(corpus, model, count, compute, answers)
    check_free(out)  # another command may have made it since
    atomic_write_text(out, text)
    say("\n".join([text, *remarks]))
    say(
        f"written: {out}; look at the reasons, then: python -m grpo.run --config {shlex.quote(str(out))} --check"
    )


def check_free(out: Path) -> None:
    """Raises InputError where the file is there already, or its folder is not."""
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it, or name another file by --out")
    if out.exists():
        raise InputError(f"{out}: is there already and stays as it is; name another file by --out")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: command(options))


if __name__ == "__main__":
    sys.exit(main())
