"""`semantic-grpo COMMAND ...`: every command of this project under one name; each is the same as `python -m
MODULE ...`.

Only the module of the chosen command is imported, when it runs. Python finds it wherever this package is
installed: unlike `python -m`, a console script does not look for modules in the working folder, which may
have a `data` or an `eval.py` of its own.
"""

import runpy
import sys

from grpo import __version__

COMMANDS = {  # name -> module, and what it does
    "init": (
        "grpo.init",
        "look at a parallel file and a model, and write a first configuration with reasons",
    ),
    "run": ("grpo.run", "train and evaluate one model: corpus, warm start, GRPO, evaluation, report"),
    "translate": (
        "grpo.translate",
        "translate a file, or standard input, line by line with a trained policy",
    ),
    "serve": ("grpo.serve", "try one policy: a page for the browser, and OpenAI's HTTP interface"),
    "evaluate": (
        "grpo.evaluate",
        "score another model, or a file of outputs, on the test set of a run and add it to the report",
    ),
    "compare": (
        "eval.compare",
        "compare finished runs on one page: settings, scores with intervals, tax, cost",
    ),
    "study": (
        "grpo.study",
        "train and compare many arms from one warm start: gain on the task against loss elsewhere",
    ),
    "card": (
        "eval.card",
        "write the model card of a finished run: data, method, results, cost, limits, licence",
    ),
    "export": ("grpo.publish.export", "write a model in another form: bf16, fp16, one file, GGUF"),
    "push": ("grpo.publish.push", "show what would go to a model hub, and with --yes send it"),
    "judge": ("eval.judge", "ask a judge model which of two systems' outputs it prefers"),
    "blind-sheet": (
        "eval.blind_sheet",
        "make and score a sheet on which readers choose between two systems' outputs",
    ),
    "score": ("eval.score", "score text files by chrF, BLEU, TER or a learned metric, with intervals"),
    "metric": ("reward.learned", "make a metric folder of an official COMET, MetricX or BLEURT checkpoint"),
    "attacks": ("eval.attacks", "measure what a reward pays for cheap attacks on real reference texts"),
    "harness": ("eval.harness", "run benchmarks of lm-evaluation-harness on a model folder"),
    "settings": ("grpo.settings", "print every setting with its type, default, bounds and a sentence"),
    "distil": ("reward.distil", "make a sentence encoder for a language that no installed one reads"),
    "readme-table": (
        "eval.readme_table",
        "rewrite the results table of a README from the summary of a study",
    ),
}


def help_text() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    usage = "usage: semantic-grpo COMMAND ...\n       semantic-grpo --help | --version"
    return "\n".join(
        [usage, "", "commands:", *rows, "", "semantic-grpo COMMAND --help lists the options of a command."]
    )


def main() -> int:
    """The console script: the exit code is that of the command, 2 where there is no such command."""
    name, *arguments = sys.argv[1:] or [""]
    if name in ("-h", "--help"):
        print(help_text())
        return 0
    if name == "--version":
        print(f"semantic-grpo {__version__}")
        return 0
    if name not in COMMANDS:
        from data.arguments import nearest

        names = ", ".join(COMMANDS)
        print(
            f"error: {name or 'no command'}: write semantic-grpo COMMAND, where COMMAND is one of {names}{nearest(name, COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    module, _ = COMMANDS[name]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # ends by SystemExit, as `python -m` does
    return 0


if __name__ == "__main__":
    sys.exit(main())
