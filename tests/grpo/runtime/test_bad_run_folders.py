"""Run folders of every kind of badness: `--stages report`, and every stage that reads what an earlier one
wrote, names the file.
"""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import outcome
from explore import altered_json, bad_json, check_sentence, damaged_bytes, explore, read_or_refuse, times
from hypothesis import strategies as st
from invented_run import write_run

from data.errors import InputError
from eval.report.write import result_table, write_report
from eval.systems import write_comparison
from grpo.config_file import load_config
from grpo.run import main
from grpo.runtime.run_log import cut_back
from grpo.runtime.timings import timings_of
from grpo.stages.reward_setup import read_facts

PARTS = ["config.json", "environment.json", "corpus.json", "timings.json", "metrics.jsonl"]
PARTS += [
    f"eval/{name}.json" for name in ("untouched", "translation_memory", "warm_start", "trained", "comparison")
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole") / "run", count=12, resamples=10)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def bad_lines(content: bytes) -> st.SearchStrategy[bytes]:
    """A JSONL file with a value altered in one line, or with anything damaged."""
    lines = content.splitlines()
    line = st.sampled_from([0, 20, 50, len(lines) - 1]).flatmap(
        lambda at: altered_json(json.loads(lines[at])).map(lambda row: (at, row))
    )
    return line.map(
        lambda found: b"\n".join([*lines[: found[0]], found[1], *lines[found[0] + 1 :]]) + b"\n"
    ) | damaged_bytes(content)


def leaves(document: Any) -> Iterator[Any]:
    """The values inside a JSON document. Its keys are left out: damage may write NaN into one."""
    if isinstance(document, dict | list):
        for value in document.values() if isinstance(document, dict) else document:
            yield from leaves(value)
    else:
        yield document


@times
@pytest.mark.parametrize("name", PARTS)
def test_any_damage_is_named_or_reported_on(times: int, name: str, run: Path) -> None:
    content = (run / name).read_bytes()

    def holds(damage: bytes) -> None:
        (run / name).write_bytes(damage)
        if read_or_refuse(lambda: write_report(run), str(run / name)):
            result_table(run)
            summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
            assert not any("nan" in str(value).lower() for value in leaves(summary))

    explore(
        (8 if name == "metrics.jsonl" else 20) * times,
        holds,
        (bad_lines if name.endswith("l") else bad_json)(content),
    )


@times
def test_any_damage_is_named_by_the_comparison(times: int, run: Path) -> None:
    content = (run / "eval" / "trained.json").read_bytes()

    def holds(damage: bytes) -> None:
        (run / "eval" / "trained.json").write_bytes(damage)
        read_or_refuse(lambda: write_comparison(run, seed=0, resamples=3), str(run / "eval"))

    explore(20 * times, holds, bad_json(content))


@times
def test_any_damage_to_the_log_of_a_run_that_goes_on(times: int, run: Path) -> None:
    """Of a whole log all lines before the step stay; a line that nobody wrote is named; only a last one may
    be unfinished.
    """
    content = (run / "metrics.jsonl").read_bytes()

    def holds(damage: bytes) -> None:
        (run / "metrics.jsonl").write_bytes(damage)
        records = read_or_refuse(
            lambda: cut_back(run / "metrics.jsonl", "train", 30), str(run / "metrics.jsonl")
        )
        if records is not None:
            assert all(record["stage"] == "train" and record["step"] < 30 for record in records)
            assert cut_back(run / "metrics.jsonl", "train", 30) == records or "NaN" in str(
                records
            ) + damage.decode(errors="replace")

    explore(150 * times, holds, bad_lines(content))


@times
def test_any_damage_to_what_the_reward_was_measured_by(times: int, tmp_path: Path) -> None:
    """Past bug: a NaN for tau in reward.json went into every reward."""
    path = tmp_path / "reward.json"

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        facts = read_or_refuse(lambda: read_facts(path), str(path))
        assert facts is None or (
            -1 <= facts["threshold"] < 1 and 0 <= facts["noise"] <= 2 and math.isfinite(facts["std_floor"])
        )

    facts = {"rule": "given", "threshold": 0.1, "noise": 1e-7, "noise_texts": 256, "std_floor": 1e-3}
    explore(150 * times, holds, bad_json(json.dumps(facts).encode()))


def test_the_last_line_alone_may_be_unfinished(run: Path) -> None:
    """Past bug: every unreadable line of the log was dropped without a word, and one that was no object was a
    traceback.
    """
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines) + '\n{"stage": "train", "st')
    assert len(cut_back(path, "train", 1000)) == 60
    path.write_text("\n".join([*lines[:3], "[]", *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl:4: must hold a JSON object"):
        cut_back(path, "train", 1000)


def command(folder: Path, model: Path) -> list[str]:
    """`--stages report` on `folder`, whose config.json is made to fit."""
    path = folder.parent / "c.toml"
    path.write_text(f'run_dir = "{folder}"\ndevice = "cpu"\n[model]\npolicy = "{model}"\n')
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(load_config(path))))
    return ["--config", str(path), "--stages", "report"]


def test_report_of_a_whole_folder(run: Path, tiny_folder: Path) -> None:
    assert outcome(main, command(run, tiny_folder)) == (0, "") and (run / "report.html").exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_report_of_nothing_is_refused_and_nothing_is_written(
    is_there: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    """Past bug: an empty report, with exit code 0."""
    folder = tmp_path / "none"
    path = tmp_path / "c.toml"
    path.write_text(f'run_dir = "{folder}"\n[model]\npolicy = "{tiny_folder}"\n')
    if is_there:
        folder.mkdir()
    code, said = outcome(main, ["--config", str(path), "--stages", "report"])
    assert code == 2 and said.startswith(f"error: {folder}: no run has worked in it, so ")
    assert "write run_dir=FOLDER" in said
    assert folder.exists() == is_there and not (is_there and any(folder.iterdir()))


def with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_bytes(b"[]"),
    "deep": lambda path: path.write_bytes(b"[" * 9000),
    "bytes": lambda path: path.write_bytes(os.urandom(40) + b"\xff"),
    "half": lambda path: path.write_bytes(b'{"stages": {"\\ud800": 1}, "peak_memory_bytes": 1}'),
    "folder": with_folder,
}


@pytest.mark.parametrize(
    "name", ["config.json", "corpus.json", "timings.json", "eval/trained.json", "metrics.jsonl"]
)
@pytest.mark.parametrize("damage", DAMAGE)
def test_report_names_what_is_damaged(name: str, damage: str, run: Path, tiny_folder: Path) -> None:
    """Past bug: config.json and timings.json were read unchecked; RecursionError for deep ones,
    UnicodeEncodeError for half a character.
    """
    arguments = command(run, tiny_folder)
    DAMAGE[damage](run / name)
    if (name, damage) == ("metrics.jsonl", "empty"):
        return  # a run without metrics
    code, said = outcome(main, arguments)
    assert code == 2 and said.startswith(f"error: {run / name}") and said.count("\n") == 1, said
    check_sentence(said.removeprefix("error: ").rstrip("\n"))


@pytest.mark.parametrize(
    "content", ["{}", '{"stages": []}', '{"stages": {"sft": "1"}, "peak_memory_bytes": 1}', '{"stages": {}}']
)
def test_timings_are_checked_before_anything_runs(content: str, tmp_path: Path) -> None:
    (tmp_path / "timings.json").write_text(content)
    with pytest.raises(InputError, match=r"timings\.json: must hold 'stages'"):
        timings_of(tmp_path)
