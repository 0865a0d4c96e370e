"""`python -m grpo.study --config configs/study_cpu.toml [key=value ...]`: every arm of a study, its points,
transfer, and the report.

What is finished is skipped, so the same command goes on after any stop; arms and seeds may be split over
several commands. Exit codes: 0 done, 1 an arm failed (the others went on), 2 something the user can put
right, 130 / 143 stopped with everything saved.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.cache import cache_dir
from data.console import say
from data.errors import RESUMES, InputError, one_line, run_command
from grpo.run import go_offline
from grpo.runtime import device
from grpo.stages.plan import known_model
from grpo.study.arms import run_child, train_arm, train_warm_start
from grpo.study.checkpoints import chosen_arms, chosen_seeds, has_all_points
from grpo.study.config import ArmConfig, Study, load_study
from grpo.study.cost import Bill, make_bill
from grpo.study.files import check_base, keep_files

PARTS = ("train", "evaluate", "transfer", "report")


@dataclass
class Work:
    """One command: which study, what of it, by which arguments a child reads it; and a sentence for
    each failure.
    """

    study: Study
    arms: Sequence[ArmConfig]
    seeds: Sequence[int]
    parts: Sequence[str]
    source: Sequence[str] = ()
    failures: list[str] = field(default_factory=list)

    def note(self, what: str, code: int, folder: Path) -> bool:
        """Whether a child did well; where not, it is named now and at the end."""
        if code:
            self.failures.append(f"{what} failed (exit code {code}); see {folder / 'log.txt'}")
            say(self.failures[-1])
        return code == 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
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
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help='settings that differ from the file, e.g. study_dir="runs/mine"',
    )
    return parser.parse_args(argv)


def chosen_parts(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise InputError(
            f"--only {text}: unknown part {(unknown or [''])[0]!r}; known parts: {', '.join(PARTS)}"
        )
    return [name for name in PARTS if name in names]


def bill_of(work: Work) -> Bill:
    config = work.study.warm_start_config(work.seeds[0])
    return make_bill(
        work.study,
        work.arms,
        work.seeds,
        known_model(config),
        device.choose(config.device, config.engine.number_format),
    )


def carry_out(work: Work) -> None:
    """Seed by seed: the warm start, then each arm with its points; then transfer and the report."""
    study = work.study
    if "evaluate" in work.parts:
        obtain_panel(study)
    for seed in work.seeds:
        train_and_evaluate(work, seed)
    if "transfer" in work.parts and study.transfer is not None:
        transfer_all(work)
    if "report" in work.parts:
        write_report(work)


def obtain_panel(study: Study) -> None:
    """Fetch what the tax is measured on, before hours of training. Raises InputError."""
    from eval.forgetting.tax import load_tax_panel

    load_tax_panel(cache_dir(), study.warm_start_config(study.seeds[0]).eval.extended_probes)


def train_and_evaluate(work: Work, seed: int) -> None:
    """Train and evaluate arm by arm, so that weights of no use are removed before the next arm; without
    training, evaluate all in one process.
    """
    study = work.study
    if "train" not in work.parts:
        evaluate_arms(work, work.arms, seed)
        return
    if not work.note(
        f"the warm start of seed {seed}", train_warm_start(study, seed, say), study.warm_start_folder(seed)
    ):
        return
    for arm in work.arms:
        try:
            is_trained = work.note(
                f"{arm.name}, seed {seed},",
                train_arm(study, arm, seed, say),
                study.arm_folder(arm.name, seed),
            )
        except InputError as error:  # what it holds was made with other settings; the other arms can go on
            work.failures.append(f"{arm.name}, seed {seed}: {one_line(error)}")
            say(work.failures[-1])
            continue
        if is_trained:
            evaluate_arms(work, [arm], seed)


def evaluate_arms(work: Work, arms: Sequence[ArmConfig], seed: int) -> None:
    """The points of some arms, and of what they are compared with, in a process of their own."""
    study = work.study
    names = ",".join(arm.name for arm in arms)
    if "evaluate" not in work.parts or has_all_points(study, arms, [seed]):
        return
    command = ["grpo.study.points", *work.source, "--arms", names, "--seeds", str(seed)]
    folder = study.folder / "points"
    work.note(
        f"the evaluation of {names}, seed {seed},", run_child(command, f"points seed{seed}", folder), folder
    )


def transfer_all(work: Work) -> None:
    from grpo.study.transfer import run_transfer

    for seed in work.seeds:
        try:
            run_transfer(work.study, seed, say)
        except InputError as error:
            work.failures.append(f"transfer, seed {seed}: {one_line(error)}")
            say(work.failures[-1])


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
    go_offline(study.warm_start_config(study.seeds[0]))
    bill = bill_of(work)
    if options.check:
        seeds = ", ".join(map(str, work.seeds))
        changes = " ".join(study.settings) or "nothing changed"
        print(f"study {study.folder}: {study.config} with {changes}; seeds {seeds}")
        print("\n".join(bill.lines()))
        return 0
    say(bill.summary())
    work.source = keep_files(study, options.config, options.overrides)
    work.study = load_study(work.source[1], work.source[2:])
    carry_out(work)
    if work.failures:
        print("\n".join(f"error: {failure}" for failure in work.failures), file=sys.stderr)
    return 1 if work.failures else 0


if __name__ == "__main__":
    sys.exit(main())
