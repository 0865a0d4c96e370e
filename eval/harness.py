"""Runs benchmarks of lm-evaluation-harness (EleutherAI, MIT), such as MMLU and C-Eval, on a model folder.

    python -m eval.harness --model runs/mt/policy --tasks my_task.yaml,hellaswag --out results.json

An extra: `pip install "semantic-grpo[harness]"`. The harness's own class for transformers models does the scoring; the
model and the tokenizer it gets are loaded by our rules (weights checked, no code out of the folder, fp32). A
task is a name it knows, whose data it then fetches, or a YAML file; with local data no network is needed.
Every context begins with the beginning-of-text token where the tokenizer puts one in front of a text, as
Gemma needs; the harness leaves it out otherwise. The items are kept, so that two checkpoints can be compared
one by one.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from data.arguments import ArgumentParser
from data.cache import atomic_write_text
from data.errors import InputError, run_command
from data.extras import pip_command
from grpo.engine.model import load_policy, load_tokenizer
from grpo.runtime import device

RESULT_KEYS = ("results", "versions", "n-shot", "n-samples", "higher_is_better")


def harness() -> Any:
    """The package `lm_eval`; raises InputError where it is not installed."""
    try:
        import lm_eval.models.huggingface
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        raise InputError(
            f"harness needs lm_eval, which is not installed; type: {pip_command('harness')}"
        ) from error
    import lm_eval.tasks

    return lm_eval


def evaluate_folder(
    folder: Path, tasks: list[str], limit: int | None, batch_size: int, device_name: str
) -> dict[str, Any]:
    """Evaluate a model folder on `tasks`: figures, versions, and each item's answers. Raises InputError."""
    lm_eval = harness()
    manager = lm_eval.tasks.TaskManager()
    for task in tasks:
        check_task(task, manager.all_tasks)
    compute = device.choose(device_name)
    tokenizer = load_tokenizer(folder)
    model = lm_eval.models.huggingface.HFLM(
        pretrained=load_policy(folder, compute.device, packed_attention=False),
        tokenizer=tokenizer,
        batch_size=batch_size,
        add_bos_token=tokenizer.bos_token_id is not None,
    )
    output = lm_eval.simple_evaluate(
        model=model, tasks=tasks, limit=limit, task_manager=manager, bootstrap_iters=1000
    )
    items = {name: [item_record(row) for row in rows] for name, rows in output["samples"].items()}
    return {
        "model": str(folder),
        "lm_eval": version("lm_eval"),
        **{key: output.get(key) for key in RESULT_KEYS},
        "items": items,
    }


def check_task(task: str, task_names: list[str]) -> None:
    """InputError for a task that is neither a file nor known to the harness."""
    if task.endswith((".yaml", ".yml")):
        if not Path(task).is_file():
            raise InputError(
                f"--tasks {task}: no such file; give a task file of lm-evaluation-harness or the name of one of its tasks"
            )
    elif task not in task_names:
        raise InputError(
            f"--tasks {task}: not a task of lm-evaluation-harness; `lm-eval ls tasks` lists them, or give a YAML file"
        )


def item_record(row: dict[str, Any]) -> dict[str, Any]:
    """An item without its text: number, right answer, the model's response to each choice, metrics."""
    keys = ("doc_id", "target", "filtered_resps", *row["metrics"])
    return {key: row[key] for key in keys if key in row}


def run(options: argparse.Namespace) -> None:
    tasks = [task.strip() for task in options.tasks.split(",") if task.strip()]
    if not tasks:
        raise InputError("--tasks is empty; give names or YAML files with commas between them")
    with torch.inference_mode():
        result = evaluate_folder(
            Path(options.model), tasks, options.limit, options.batch_size, options.device
        )
    atomic_write_text(Path(options.out), json.dumps(result, ensure_ascii=False, indent=1, default=str) + "\n")
    for name, figures in result["results"].items():
        values = ", ".join(
            f"{key.split(',')[0]} {value:.4f}" for key, value in figures.items() if isinstance(value, float)
        )
        print(f"{name}: {values}")


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.harness", description="Benchmarks of lm-evaluation-harness on a model folder."
    )
    parser.add_argument("--model", required=True, help="a transformers model folder, such as runs/mt/policy")
    parser.add_argument(
        "--tasks", required=True, help="names of tasks or YAML files, with commas between them"
    )
    parser.add_argument("--out", required=True, help="the JSON file to write")
    parser.add_argument("--limit", type=int, help="at most so many items of each task (default: all)")
    parser.add_argument("--batch-size", type=int, default=8, help="items in one forward pass (default: 8)")
    parser.add_argument("--device", default="auto", help="auto, or cpu")
    options = parser.parse_args(argv)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
