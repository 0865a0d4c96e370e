"""`python -m grpo.evaluate --config FILE --name NAME --model FOLDER | --outputs FILE`: another model, or a file of
outputs, on the test set of a run.

It becomes one more system of the run's report, compared item by item. `--write-sources FILE` writes what is to be
translated.
"""

import argparse
import sys
from pathlib import Path

from data.arguments import ArgumentParser
from data.documents import user_path
from data.errors import InputError, run_command
from eval.report.added import added_text
from eval.report.write import write_report
from eval.run_folder import results_folder
from grpo.config import Config
from grpo.config_file import load_config
from grpo.run import go_offline, open_run
from grpo.runtime.old_defaults import with_old_defaults
from grpo.runtime.run_folder import check_settings, policy_in


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.evaluate", description="Score another system on the test set of a run."
    )
    parser.add_argument("--config", required=True, help="the configuration of the run")
    parser.add_argument("--name", default="", help="what the report calls the system")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a model folder, or a run folder for its best policy")
    what.add_argument(
        "--outputs", help='a text file, one line an item; or JSONL with the fields "id" and "output"'
    )
    what.add_argument(
        "--write-sources",
        metavar="FILE",
        help="write the test set's sources, as JSONL where FILE ends in .jsonl, and stop",
    )
    parser.add_argument(
        "--test",
        help="of several test sets the one of this name (default: all for a model, else the own one)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="the settings that the run was started with"
    )
    return parser.parse_args(argv)


def check_folder(config: Config) -> None:
    """InputError where the folder has no results of a run with these settings."""
    folder = Path(config.run_dir)
    if not any(results_folder(folder).rglob("*.json")):
        raise InputError(
            f"{folder}: this run is not evaluated yet; run it first, with its stage eval (python -m grpo.run)"
        )
    check_settings(config, folder)


def work(options: argparse.Namespace) -> None:
    config = load_config(options.config, options.overrides)
    config = with_old_defaults(config, Path(config.run_dir))
    go_offline(config)
    check_folder(config)
    from grpo.stages.added_system import add_model, add_outputs, check_name, chosen_set, write_sources
    from grpo.stages.evaluate import test_sets
    from grpo.stages.smaller_passes import evaluate_within_memory
    from grpo.stages.token_limits import with_limits

    if not options.write_sources:
        check_name(options.name)
    folder = policy_in(user_path(options.model)) if options.model else None
    with open_run(config) as opened:
        run = opened.world.first_then_all(lambda: with_limits(opened))
        sets = run.world.first_then_all(lambda: test_sets(run))
        if options.test is not None or folder is None:
            sets = chosen_set(sets, options.test or "")
        if folder:
            evaluate_within_memory(run, lambda own: add_model(own, sets, options.name, folder))
        elif options.outputs:
            add_outputs(run, sets, options.name, user_path(options.outputs))
        elif run.world.is_first:
            write_sources(next(iter(sets.values())), user_path(options.write_sources))
            run.say(f"written: {options.write_sources}")
            return
        if run.world.is_first:
            html, markdown, _ = write_report(run.folder)
            run.say(f"{added_text(run.folder, options.name)}\nreport: {html} and {markdown}")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: work(options))


if __name__ == "__main__":
    sys.exit(main())
