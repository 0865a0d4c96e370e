"""Measure the checkpoints of a study: target task and alignment tax of each -> points/ARM/seedK/step-N.json.

`python -m grpo.study.points --config STUDY.toml --arms a,b --seeds 0` is what `grpo.study` runs after each
arm. Every arm of every seed is measured by the study's own configuration, never by the arm's reward. Not here:
training, or what the points mean (eval/study/report.py).
"""

import gc
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.arguments import ArgumentParser
from data.cache import atomic_write_text, cache_dir, remove_folder
from data.console import say
from data.documents import read_object
from data.errors import RESUMES, Interrupted, run_command
from data.examples import Example
from data.prompt import Prompt
from eval.forgetting.policy_kl import measure_policy_kl
from eval.forgetting.probe_items import Panel
from eval.forgetting.tax import load_tax_panel, measure_tax, tax_scalar
from eval.macro import macro_result
from eval.study.layout import point_files, snapshots_in
from eval.study.pareto import front
from grpo.engine.model import parameter_hash
from grpo.runtime import device
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_folder import study_lock
from grpo.stages.context import Run, corpus_of, load_model, load_prompt, untouched_model, within_limit
from grpo.stages.evaluate import Measures, own_sets
from grpo.stages.smaller_passes import evaluate_within_memory
from grpo.stages.token_limits import with_limits
from grpo.study.arms import has_warm_start
from grpo.study.checkpoints import PlannedPoint, chosen_arms, chosen_seeds, planned_points
from grpo.study.config import ArmConfig, Study, load_study
from grpo.study.files import check_base


@dataclass(frozen=True)
class Instruments:
    """What every checkpoint is measured with, loaded once: test set, encoders, tax panel, the untouched
    model.
    """

    run: Run
    measures: Measures
    panel: Panel
    task: Sequence[Example]
    base: PreTrainedModel
    prompt: Prompt


def load_instruments(run: Run) -> Instruments:
    run = with_limits(run)
    folder = untouched_model(run)
    prompt = load_prompt(run, folder)
    base = load_model(run, folder).requires_grad_(False)
    task = within_limit(corpus_of(run).dev, prompt, run.config.model.max_prompt_tokens)
    panel = load_tax_panel(run.cache, run.config.eval.extended_probes)
    return Instruments(run, Measures(run, own_sets(run)), panel, task, base, prompt)


def measure_point(tools: Instruments, point: PlannedPoint) -> None:
    """Measure one model and write its point."""
    run = tools.run
    facts = point.facts
    run.say(
        f"evaluating {facts['arm']}, seed {facts['seed']}, step {facts['step']}, on {tools.measures.num_items} test items and the tax panel"
    )
    model = load_model(run, point.model).requires_grad_(False)
    if point.share != 1:
        model.load_state_dict(interpolate(tools.base.state_dict(), model.state_dict(), point.share))
    outputs = tools.measures.outputs(model, point.model)
    target = macro_result(tools.measures.results(facts["arm"], outputs))
    base = model if facts["kind"] == "untouched" else tools.base
    tax = measure_tax(model, base, tools.prompt, tools.panel, tools.task)
    config = run.config
    settings = config.eval.max_new_tokens, config.engine.fast_decode
    policy_kl = measure_policy_kl(model, base, tools.prompt, tools.task, *settings)
    result = {
        **facts,
        "sha256": parameter_hash(model),
        "target": target,
        "tax": tax,
        "policy_kl": policy_kl,
    }
    atomic_write_text(point.path, json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """start + share x (end - start), in fp32, tensor by tensor; 0 and 1 give back `start` and `end` bit for
    bit. Both have the same tensors by name and shape.

    >>> interpolate({"w": torch.zeros(2)}, {"w": torch.tensor([1.0, -4.0])}, 0.25)
    {'w': tensor([ 0.2500, -1.0000])}
    """
    return {name: torch.lerp(tensor.float(), end[name].float(), share) for name, tensor in start.items()}


def prune(study: Study, seed: int, say: Callable[[str], None]) -> None:
    """Remove the weights of evaluated snapshots that the study does not keep; an arm's last one stays
    always.
    """
    if study.keep_snapshots == "all":
        return
    removable = [
        (study.point_path(arm.name, seed, step), folder)
        for arm in study.arms
        for step, folder in snapshots_in(study.arm_folder(arm.name, seed))[:-1]
        if study.point_path(arm.name, seed, step).exists()
    ]
    front_points = points_on_front(study, seed) if study.keep_snapshots == "front" and removable else set()
    for point, folder in removable:
        if point not in front_points:
            with suppress(FileNotFoundError):  # another command may have come first
                remove_folder(folder)
            say(f"{folder}: evaluated, not kept")


def points_on_front(study: Study, seed: int) -> set[Path]:
    """Points of the seed that no other point so far dominates: more of the target for less tax."""
    paths = point_files(study.folder, seed)
    points = [read_object(path) for path in paths]
    gains = [point["target"]["metrics"]["all"][study.target] for point in points]
    return {paths[position] for position in front(gains, [tax_scalar(point["tax"]) for point in points])}


def evaluate_all(
    study: Study, arms: Sequence[ArmConfig], seeds: Sequence[int], say: Callable[[str], None]
) -> None:
    """Every checkpoint of these arms and seeds that has no point yet, with half of the batch where a card has no memory;
    then weights are removed that the study does not keep.
    """
    for seed in seeds:
        has_warm_start(study, seed)  # refuses one of another configuration than its points are measured by
    config = study.warm_start_config(min(study.seeds))
    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    with StopRequest() as stop:
        run = Run(config, study.warm_start_folder(min(study.seeds)), cache_dir(), compute, stop, say)
        evaluate_within_memory(run, lambda own: measure_missing(study, own, arms, seeds))
    for seed in seeds:
        prune(study, seed, say)


def measure_missing(study: Study, run: Run, arms: Sequence[ArmConfig], seeds: Sequence[int]) -> None:
    """Measure every checkpoint that has no point yet, one after the other."""
    tools: Instruments | None = None
    for folder, points in planned_points(study, untouched_model(run), arms, seeds):
        with study_lock(folder, run.say):
            for point in points:
                if not point.path.exists():
                    tools = tools or load_instruments(run)
                    measure_point(tools, point)
                    gc.collect()
                if run.stop():
                    raise Interrupted(run.stop.signal)


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m grpo.study.points", description="Evaluate the checkpoints of a study."
    )
    parser.add_argument("--config", required=True, help="the study's TOML file")
    parser.add_argument("--arms", default="", help="comma-separated names (default: all)")
    parser.add_argument("--seeds", default="", help="comma-separated (default: all)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings that differ from the file"
    )
    options = parser.parse_args(argv)

    def work() -> None:
        study = load_study(options.config, options.overrides)
        check_base(study)
        evaluate_all(study, chosen_arms(study, options.arms), chosen_seeds(study, options.seeds), say)

    return run_command(work, RESUMES)


if __name__ == "__main__":
    sys.exit(main())
