"""`python -m grpo.run --config configs/mt.toml [section.key=value ...]`: configuration -> stages, in order.

It knows every part and decides nothing else. Exit codes: 0 done, 1 training failed, 2 something the user
can put right (one sentence each), 130 / 143 / 129 stopped by Ctrl-C / SIGTERM / SIGHUP with everything saved.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from data.arguments import ArgumentParser, nearest
from data.cache import atomic_write_text, cache_dir
from data.console import say, silent
from data.errors import RESUMES, InputError, Interrupted, run_command
from data.live_table import live_table
from grpo.config import Config
from grpo.config_file import load_config
from grpo.runtime import device
from grpo.runtime.ending import shared_ending
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.old_defaults import with_old_defaults
from grpo.runtime.old_folders import COMMAND_STAGES, update_names
from grpo.runtime.parallel import connect, meet
from grpo.runtime.run_folder import claim_folder, environment, holds_work, sole_process
from grpo.runtime.timings import add_steps_of_the_log, add_timing
from grpo.runtime.trackers import check_installed

if TYPE_CHECKING:
    from grpo.stages.context import Run

STAGES = ("data", "model", "sft", "train", "eval", "report")
PARALLEL_STAGES = ("sft", "train", "eval")  # by all processes; the other stages by the first


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.run",
        description="Warm start, training with a semantic reward, evaluation, report.",
    )
    parser.add_argument("--config", required=True, help="a TOML file such as configs/mt.toml")
    parser.add_argument(
        "--check",
        action="store_true",
        help="open what the configuration names, print what would run, then stop",
    )
    parser.add_argument(
        "--json", action="store_true", help="the same, and print all settings as JSON in place of it"
    )
    parser.add_argument(
        "--stages", default=",".join(STAGES), help=f"comma-separated, of {','.join(STAGES)} (default: all)"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that differ from the file"
    )
    return parser.parse_args(argv)


def chosen_stages(text: str) -> list[str]:
    """The stages named in `text`, comma-separated, in their order. Raises InputError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for old in (name for name in names if name in COMMAND_STAGES):
        say(f"--stages {old}: this stage is now called {COMMAND_STAGES[old]}")
    names = [COMMAND_STAGES.get(name, name) for name in names]
    wrong_names = [name for name in names if name not in STAGES]
    if wrong_names or not names:
        raise InputError(
            f"--stages {text}: unknown stage {(wrong_names or [''])[0]!r}; known stages: {', '.join(STAGES)}"
            f"{nearest((wrong_names or [''])[0], STAGES)}"
        )
    return [name for name in STAGES if name in names]


def go_offline(config: Config) -> None:
    """No model hub, ever, unless the user names a hub model; must run before transformers is imported."""
    if not config.model.policy.startswith("hub:"):
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def print_plan(config: Config, *, is_json: bool) -> None:
    """What `--check` prints: what runs, its bill and a prompt; or all settings as JSON. Raises InputError for what
    would stop the run.
    """
    from grpo.stages.dry_run import counted_config, open_inputs, prompt_lines
    from grpo.stages.overview import notes_of, overview_lines, warnings_of
    from grpo.stages.plan import make_plan

    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    with redirect_stdout(sys.stderr) if is_json else nullcontext():
        inputs = open_inputs(config, compute)
    with counted_config(config, inputs) as counted:
        bill = make_plan(counted, inputs.model, compute, inputs.pairs)
        bill_lines = bill.lines(counted)
    prompt = prompt_lines(config, inputs)
    if is_json:
        print(json.dumps(dataclasses.asdict(config), ensure_ascii=False, indent=1))
        return
    notes = [*warnings_of(bill), *notes_of(config, inputs)]
    for line in [*overview_lines(config, inputs), *bill_lines, *notes, *prompt]:
        say(line)


def report_alone(config: Config) -> None:
    """The stage report by itself: it loads no model, and so no library for models. Raises InputError for a folder without
    a result, which stays as it is.
    """
    from eval.report.write import result_table, write_report

    folder = Path(config.run_dir)
    if not (holds_work(folder) or (folder / "metrics.jsonl").exists()):
        raise InputError(
            f"{folder}: no run has worked in it, so there is nothing to report; start the run without --stages, or write "
            "run_dir=FOLDER of a run that was made"
        )
    start = time.perf_counter()
    with sole_process(folder, say):
        add_steps_of_the_log(folder)
        claim_folder(config, folder, say)
        html, markdown, _ = write_report(folder)
        say(result_table(folder))
        add_timing(folder, "report", time.perf_counter() - start, 0)
    say(f"report: {html} and {markdown}")


@contextmanager
def open_run(config: Config) -> Iterator["Run"]:
    """A run with its device and the other processes; the first of them keeps its folder locked."""
    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    folder = Path(config.run_dir)
    world = meet(config.parallel)
    with StopRequest() as stop, shared_ending(world, RESUMES):
        connect(world, compute.device.type != "cpu", config.parallel)
        from grpo.stages.context import Run

        print_line = say if world.is_first else silent
        with sole_process(folder, print_line) if world.is_first else nullcontext():
            own = with_old_defaults(config, folder)
            yield Run(own, folder, cache_dir(), compute, stop, print_line, world)


def run_stages(run: "Run", stages: list[str]) -> None:
    """The stages in their order, with the other processes."""
    from grpo.stages.evaluate import eval_stage, report_stage
    from grpo.stages.prepare import check_inputs, data_stage, model_stage, preflight
    from grpo.stages.train import train_stage
    from grpo.stages.warm_start import sft_stage

    world, folder, facts = run.world, run.folder, device.describe(run.compute)
    table = {
        "data": data_stage,
        "model": model_stage,
        "sft": sft_stage,
        "train": train_stage,
        "eval": eval_stage,
        "report": report_stage,
    }
    world.first_then_all(lambda: preflight(run, stages))
    if world.is_first:
        claim_folder(run.config, folder, run.say)
        update_names(folder)
        add_steps_of_the_log(folder)
        check_inputs(run)
        atomic_write_text(folder / "environment.json", json.dumps(environment(facts), indent=1))
    run.say(
        f"run {folder}: {facts['device']}, {facts['compute_dtype']} compute{' with TF32' if facts['tf32'] else ''}, "
        f"{facts['threads']} threads of {facts['cores']} cores, "
        f"{'deterministic' if facts['deterministic'] else 'the fastest'} kernels"
    )
    if len(stages) > 1:
        run.say(
            f"stages: {', '.join(stages)}; Ctrl-C stops after an update and saves, and the same command goes on"
        )
    for stage in stages:
        run.say(f"== {stage}")
        world.report(stage)
        if world.is_first or stage in PARALLEL_STAGES:
            run_stage(run, stage, table[stage])
        if stage == "model" and len(stages) > 1:
            say_time(run)
        world.wait()
        if run.is_stopping() and stage != stages[-1]:
            raise Interrupted(run.stop.signal)


def say_time(run: "Run") -> None:
    """Say how long the stages that train and evaluate are likely to take; by the first process."""
    from grpo.stages.context import base_model
    from grpo.stages.plan import make_plan

    if run.world.is_first:
        bill = make_plan(run.config, base_model(run).files(), run.compute)
        run.say(f"time: {bill.time(run.config)} on this machine; what is finished is not done again")


def run_stage(run: "Run", stage: str, work: Callable[["Run"], None]) -> None:
    """Do a stage, and add the time it took to timings.json, also where the user stopped it."""
    from grpo.stages.smaller_passes import do_within_memory

    start = time.perf_counter()
    try:
        with live_table():
            do_within_memory(run, stage, work)
    except Interrupted:
        save_time(run, stage, start)
        raise
    save_time(run, stage, start)


def save_time(run: "Run", stage: str, started: float) -> None:
    if run.world.is_first:
        add_timing(run.folder, stage, time.perf_counter() - started, device.peak_memory_bytes(run.compute))


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: command(options), RESUMES)


def command(options: argparse.Namespace) -> None:
    stages = chosen_stages(options.stages)
    config = load_config(options.config, options.overrides)
    check_installed(config.log.to)
    go_offline(config)
    if options.check or options.json:
        print_plan(with_old_defaults(config, Path(config.run_dir)), is_json=options.json)
        return
    if stages == ["report"] and os.environ.get("WORLD_SIZE", "1") == "1":
        report_alone(with_old_defaults(config, Path(config.run_dir)))
        return
    try:
        with open_run(config) as run:
            run_stages(run, stages)
    except Interrupted as stop:
        raise Interrupted(stop.args[0], f"run folder {config.run_dir}") from stop


if __name__ == "__main__":
    sys.exit(main())
