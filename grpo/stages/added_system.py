"""Another model, or a file of outputs, on the test sets of a run: one more system of its report. The run's own results
stay as they are.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from data.cache import atomic_write_text
from data.checksums import sha256_of
from data.errors import InputError
from data.examples import Example
from data.prompt_record import load_kinds, load_wording
from data.sources.file_lines import file_lines
from data.sources.json_lines import text_field
from data.sources.line import BadLineError, decode_line
from data.sources.user_file import has_line_end
from eval.run_folder import SYSTEMS, added_folder
from eval.systems import write_added_comparison
from grpo.engine.source import ModelSource
from grpo.stages.context import Run, load_prompt, untouched_model
from grpo.stages.evaluate import Measures, TestSets, evaluate_model


def check_name(name: str) -> None:
    """InputError for a name that is no name of a file, or that of a system of every run."""
    is_name = name.replace("-", "").replace("_", "").isalnum() and name.isascii() and len(name) <= 40
    if not is_name or name in (*SYSTEMS, "comparison"):
        raise InputError(
            f"--name {name}: write up to 40 letters, digits, - and _, and none of {', '.join(SYSTEMS)}"
        )


def chosen_set(sets: TestSets, test: str) -> TestSets:
    """The one test set of this name. InputError for an unknown one."""
    if test not in sets:
        names = ", ".join(name or "the own one (no --test)" for name in sets)
        raise InputError(f"--test {test!r}: no such test set; this run has {names}")
    return {test: sets[test]}


def add_model(run: Run, sets: TestSets, name: str, folder: Path) -> None:
    """Evaluate a model folder as the run's own models are: with its wording and settings."""
    wording = load_prompt(run, untouched_model(run)).wording
    if load_kinds(folder) and load_wording(folder) != wording:
        run.say(f"NOTE: {folder} was trained with another wording; here it is asked in that of the run")
    made_by = f"the model in {folder}, asked and decoded as the models of this run"
    evaluate_model(Measures(run, sets, added_folder, made_by), name, ModelSource(folder))
    compare(run, sets)


def add_outputs(run: Run, sets: TestSets, name: str, path: Path) -> None:
    """Score a file of outputs for a single test set."""
    ((test, examples),) = sets.items()
    outputs = run.world.first_then_all(lambda: read_outputs(path, examples))
    made_by = f"the outputs in {path} (sha256 {sha256_of(path)[:12]})"
    Measures(run, sets, added_folder, made_by).write(name, {test: outputs}, {})
    compare(run, sets)


def compare(run: Run, sets: TestSets) -> None:
    """Compare every added system with those of the run, by the first process."""
    measure = run.config.eval
    for test in sets if run.world.is_first else ():
        write_added_comparison(
            run.folder, run.config.seed, measure.bootstrap_samples, test, by_document=measure.by_document
        )


def write_sources(examples: Sequence[Example], path: Path) -> None:
    """The sources of a test set in its order, what another system is to translate: JSONL where the file is named so, else
    a line for each. Raises InputError for a text that has several lines.
    """
    if path.suffix.lower() != ".jsonl":
        if long := next((example.id for example in examples if has_line_end(example.source)), ""):
            raise InputError(
                f"--write-sources {path}: the source of {long} has several lines; write a .jsonl file"
            )
        atomic_write_text(path, "".join(f"{example.source}\n" for example in examples))
        return
    keys = ("id", "source", "source_language", "target_language")
    rows = [{key: getattr(example, key) for key in keys} for example in examples]
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_outputs(path: Path, examples: Sequence[Example]) -> list[str]:
    """One output per example: of a .jsonl file by the fields "id" and "output", else a line for each. InputError
    where they are not those of the examples.
    """
    if path.suffix.lower() == ".jsonl":
        return outputs_by_id(path, [example.id for example in examples])
    lines = file_lines(path)
    if len(lines) != len(examples):
        raise InputError(
            f"{path}: {len(lines)} lines for {len(examples)} test items; give one line an item, in the order of "
            "--write-sources"
        )
    return [text_of(path, number, line) for number, line in enumerate(lines, 1)]


def text_of(path: Path, number: int, line: bytes, field: str = "") -> str:
    """The text of a line, or of a field of its object. Raises InputError."""
    try:
        return (text_field(line, field) if field else decode_line(line)).strip()
    except BadLineError as error:
        raise InputError(f"{path}:{number}: {error}; put that line right") from error


def outputs_by_id(path: Path, ids: Sequence[str]) -> list[str]:
    """The outputs of a JSONL file in the order of the ids. Raises InputError."""
    outputs: dict[str, str] = {}
    for number, line in enumerate(file_lines(path), 1):
        key = text_of(path, number, line, "id")
        if key in outputs:
            raise InputError(f"{path}:{number}: the id {key!r} comes twice; leave one of them out")
        outputs[key] = text_of(path, number, line, "output")
    missing = [key for key in ids if key not in outputs]
    wrong_ids = sorted(outputs.keys() - set(ids))
    if missing or wrong_ids:
        example = f"{missing[0]!r} has none" if missing else f"{wrong_ids[0]!r} is no test item"
        raise InputError(
            f"{path}: {len(outputs)} outputs for {len(ids)} test items, and {example}; give one for each id of "
            "--write-sources"
        )
    return [outputs[key] for key in ids]
