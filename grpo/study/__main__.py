"""`python -m grpo.study --config configs/study_cpu.toml [key=value ...]`: every arm of a study, its points,
transfer, and the report.

What is finished is skipped, so the same command goes on after any stop; arms and seeds may be split over
several commands. Under `torchrun` they are: each process trains arms of its own, side by side with the others,
and the first one writes the report. Exit codes: 0 done, 1 an arm failed (the others went on), 2 something the user can put
right, 130 / 143 stopped with everything saved.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data.arguments import ArgumentParser
from data.cache import cache_dir
from data.console import say
from data.errors import RESUMES, InputError, one_line, run_command
from grpo.config import Config
from grpo.run import go_offline
from grpo.runtime import device
from grpo.runtime.ending import shared_ending
from grpo.runtime.parallel import SINGLE_PROCESS, World, meet
from grpo.runtime.run_folder import check_config
from grpo.study.arms import train_arm, train_warm_starts
from grpo.study.checkpoints import chosen_arms, chosen_seeds, has_all_points
from grpo.study.children import Job, run_child, run_children
from grpo.study.config import ArmConfig, Study, load_study
from grpo.study.files import check_base, keep_files

if TYPE_CHECKING:
    from grpo.study.cost import Bill

PARTS = ("train", "evaluate", "transfer", "sequence", "report")


@dataclass
class Work:
    """One command: which study, what of it, by which arguments a child reads it; which of several processes this
    is; and a sentence for each failure.
    """

    study: Study
    arms: Sequence[ArmConfig]
    seeds: Sequence[int]
    parts: Sequence[str]
    world: World = SINGLE_PROCESS
    source: Sequence[str] = ()
    side_by_side: int = 1
    failures: list[str] = field(default_factory=list)

    def note(self, what: str, code: int, folder: Path) -> bool:
        """Whether a child did well; where not, it is named now and at the end."""
        if code:
            self.fail(f"{what} failed (exit code {code}); see {folder / 'log.txt'}")
        return code == 0

    def fail(self, sentence: str) -> None:
        """Say what failed, now and at the end."""
        self.failures.append(sentence)
        say(sentence)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.study", description="Arms from one warm start, their points, and the report."
    )
    parser.add_argument("--config", required=True, help="a TOML file such as configs/study_cpu.toml")
    parser.add_argument(
        "--check", action="store_true", help="print the resolved arms and the bill, then stop"
    )
    parser.add_argument("--arms", default="", help="comma-separated names of arms (default: all)")
    parser.add_argument("--seeds", default="", help="comma-separated seeds (default: all)")
    parser.add_argument(
        "--only", default=",".join(PARTS), help=f"comma-separated, of {','.join(PARTS)} (default: all)"
    )
    # one of arms side by side
    parser.add_argument("--one-by-one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help='settings that differ from the file, e.g. study_dir="runs/mine"',
    )
    return parser.parse_args(argv)


def chosen_parts(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong_names = [name for name in names if name not in PARTS]
    if wrong_names or not names:
        raise InputError(
            f"--only {text}: unknown part {(wrong_names or [''])[0]!r}; known parts: {', '.join(PARTS)}"
        )
    return [name for name in PARTS if name in names]


def bill_of(work: Work) -> "Bill":
    """The bill by the lengths of each corpus that is prepared or a file of the user's. Raises InputError."""
    from grpo.stages.dry_run import Inputs, counted_config, prepared_corpus
    from grpo.stages.plan import known_model
    from grpo.study.cost import make_bill

    config = work.study.warm_start_config(work.seeds[0])
    compute = device.choose(config.device, config.engine.number_format)
    folders: dict[str, str] = {}
    with ExitStack() as stack:

        def count(config: Config) -> str:
            same = repr(
                (config.data, config.prompt, config.model, config.rollout.max_new_tokens, config.run_dir)
            )
            if same not in folders:
                inputs = Inputs(known_model(config), prepared_corpus(config))
                folders[same] = stack.enter_context(counted_config(config, inputs)).run_dir
            return folders[same]

        return make_bill(work.study, work.arms, work.seeds, known_model(config), compute, count)


def carry_out(work: Work) -> None:
    """Seed by seed: the warm start, then each arm with its points; then transfer and the report."""
    study = work.study
    world = work.world
    if work.arms:
        carry_out_arms(work)
    world.wait()
    for part in ("transfer", "sequence"):
        if part in work.parts and getattr(study, part) is not None:
            do_by_seed(work, part)
        world.wait()
    if "report" in work.parts and world.is_first:
        write_report(work)
    work.failures = [
        sentence for _, part in sorted(world.merge({world.rank: work.failures}).items()) for sentence in part
    ]


def carry_out_arms(work: Work) -> None:
    """The warm starts and the arms with their points."""
    if "evaluate" in work.parts:
        work.world.first_then_all(lambda: obtain_panel(work.study))
    own = own_arms(work)
    if work.side_by_side > 1 and "train" in work.parts:
        train_side_by_side(work, own)
        return
    for seed in work.seeds:
        train_and_evaluate(work, own[seed], seed)


def own_arms(work: Work) -> dict[int, list[ArmConfig]]:
    """The arms that this process trains, by seed. An arm goes to the process of the arm that it begins from."""
    chains = chains_of(work.arms)
    pairs = work.world.part([(seed, chain) for seed in work.seeds for chain in chains])
    return {seed: [arm for own, chain in pairs if own == seed for arm in chain] for seed in work.seeds}


def chains_of(arms: Sequence[ArmConfig]) -> list[list[ArmConfig]]:
    """The arms in groups: each with those that it begins from."""
    chains: dict[str, list[ArmConfig]] = {}
    root: dict[str, str] = {}
    for arm in arms:
        root[arm.name] = root.get(arm.start, arm.name)
        chains.setdefault(root[arm.name], []).append(arm)
    return [*chains.values()]


def obtain_panel(study: Study) -> None:
    """Fetch what the tax is measured on, before hours of training. Raises InputError."""
    from eval.forgetting.tax import load_tax_panel

    load_tax_panel(cache_dir(), study.warm_start_config(study.seeds[0]).eval.extended_probes)


def train_and_evaluate(work: Work, arms: Sequence[ArmConfig], seed: int) -> None:
    """Train and evaluate arm by arm, so that weights of no use are removed before the next arm; without
    training, evaluate all in one process.
    """
    study = work.study
    if "train" not in work.parts:
        evaluate_arms(work, arms, seed)
        return
    (code,) = work.world.from_first(lambda: train_warm_starts(study, [seed], 1, say))
    if code and not work.world.is_first:
        return
    if not work.note(f"the warm start of seed {seed}", code, study.warm_start_folder(seed)):
        return
    for arm in arms:
        try:
            is_trained = work.note(
                f"{arm.name}, seed {seed},",
                train_arm(study, arm, seed, say),
                study.arm_folder(arm.name, seed),
            )
        except InputError as error:  # what it holds was made with other settings; the other arms can go on
            work.fail(f"{arm.name}, seed {seed}: {one_line(error)}")
            continue
        if is_trained:
            evaluate_arms(work, [arm], seed)


def train_side_by_side(work: Work, own: Mapping[int, Sequence[ArmConfig]]) -> None:
    """The warm starts, then the arms of this process with their points: `work.side_by_side` commands at a time on one
    device, each for one arm and what begins from it. What is finished starts no command.
    """
    study = work.study
    made = work.world.from_first(lambda: train_warm_starts(study, work.seeds, work.side_by_side, say))
    codes = dict(zip(work.seeds, made, strict=True))
    if work.world.is_first:
        for seed, code in codes.items():
            work.note(f"the warm start of seed {seed}", code, study.warm_start_folder(seed))
    parts = [part for part in ("train", "evaluate") if part in work.parts]
    jobs = [
        arms_job(work, chain, seed, parts)
        for seed in work.seeds
        if codes[seed] == 0
        for chain in chains_of(own[seed])
        if not is_finished(work, chain, seed)
    ]
    for job, code in zip(jobs, run_children(jobs, work.side_by_side), strict=True):
        work.note(f"{job.name},", code, job.folder)


def arms_job(work: Work, chain: Sequence[ArmConfig], seed: int, parts: Sequence[str]) -> Job:
    """The command that trains and evaluates some arms of a seed one after the other."""
    names = ",".join(arm.name for arm in chain)
    command = [
        "grpo.study", *work.source, "--arms", names, "--seeds", str(seed), "--only", ",".join(parts), "--one-by-one",
    ]  # fmt: skip
    folder = work.study.folder / "commands" / f"{chain[0].name}-seed{seed}"
    return Job(command, f"{names} seed{seed}", folder)


def is_finished(work: Work, arms: Sequence[ArmConfig], seed: int) -> bool:
    """Whether nothing of these arms is left to do; an arm of other settings than now is left to its command, which
    names it.
    """
    study = work.study
    try:
        for arm in arms:
            check_config(study.arm_config(arm, seed), study.arm_folder(arm.name, seed))
    except InputError:
        return False
    is_trained = all((study.arm_folder(arm.name, seed) / "policy").exists() for arm in arms)
    return is_trained and ("evaluate" not in work.parts or has_all_points(study, arms, [seed]))


def evaluate_arms(work: Work, arms: Sequence[ArmConfig], seed: int) -> None:
    """The points of some arms, and of what they are compared with, in a process of their own."""
    study = work.study
    names = ",".join(arm.name for arm in arms)
    if not arms or "evaluate" not in work.parts or has_all_points(study, arms, [seed]):
        return
    command = ["grpo.study.points", *work.source, "--arms", names, "--seeds", str(seed)]
    job = Job(command, f"points seed{seed}", study.folder / "points")
    work.note(f"the evaluation of {names}, seed {seed},", run_child(job), job.folder)


def do_by_seed(work: Work, part: str) -> None:
    """Transfer or sequence of the seeds of this process."""
    from grpo.study.sequence import run_sequence
    from grpo.study.transfer import run_transfer

    run_part = {"transfer": run_transfer, "sequence": run_sequence}[part]
    for seed in work.world.part(work.seeds):
        try:
            run_part(work.study, seed, say)
        except InputError as error:
            work.fail(f"{part}, seed {seed}: {one_line(error)}")


def write_report(work: Work) -> None:
    from eval.study.report import write_study_report

    paths = write_study_report(work.study.folder, work.study.target, work.study.budget)
    say(f"report: {', '.join(map(str, paths))}")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: command(options), RESUMES)


def command(options: argparse.Namespace) -> int:
    study = load_study(options.config, options.overrides)
    check_base(study)
    work = Work(
        study,
        chosen_arms(study, options.arms),
        chosen_seeds(study, options.seeds),
        chosen_parts(options.only),
    )
    config = study.warm_start_config(study.seeds[0])
    go_offline(config)
    if work.parts == ["report"] and not options.check:
        write_report(work)
        return 0
    bill = bill_of(work)
    if options.check:
        seeds = ", ".join(map(str, work.seeds))
        changes = " ".join(study.settings) or "nothing changed"
        print(f"study {study.folder}: {study.config} with {changes}; seeds {seeds}")
        print("\n".join(bill.lines()))
        return 0
    work.world = meet(config.parallel)
    with shared_ending(work.world, RESUMES):
        run_study(work, bill, options)
    if work.failures and work.world.is_first:
        print("\n".join(f"error: {failure}" for failure in work.failures), file=sys.stderr)
    return 1 if work.failures else 0


def run_study(work: Work, bill: "Bill", options: argparse.Namespace) -> None:
    """Carry out the work by the study's own copies of its files."""
    check_world(work)
    if work.world.is_first:
        say(bill.summary())
    if options.one_by_one:
        work.source = ["--config", options.config, *options.overrides]
    else:
        work.source = work.world.from_first(lambda: keep_files(work.study, options.config, options.overrides))
        work.side_by_side = work.study.side_by_side
    work.study = load_study(work.source[1], work.source[2:])
    carry_out(work)


def check_world(work: Work) -> None:
    """Raises InputError for an arm that several processes would have to train together."""
    for arm in work.arms:
        config = work.study.arm_config(arm, work.seeds[0])
        if work.world.size > 1 and config.parallel.mode == "fsdp":
            raise InputError(
                f"arms.{arm.name}: parallel.mode = 'fsdp' shares one run among the processes, and a study under torchrun gives each of "
                "them arms of its own; write parallel.mode=data, or start the study without torchrun"
            )


if __name__ == "__main__":
    sys.exit(main())
