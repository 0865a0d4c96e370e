"""The output of a translation goes on after any stop to the same bytes, and not behind lines that were made otherwise."""

import json
import os
import shutil
from pathlib import Path

import pytest
from policy_run import sources, write, write_policy_run
from transformers import PreTrainedTokenizerFast

from grpo.translate import output as output_file
from grpo.translate.__main__ import main

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    return write_policy_run(tmp_path_factory.mktemp("translate") / "run", tiny_tokenizer)


@pytest.mark.parametrize(("stop", "finished"), [(2, 0), (4, 32)])  # the first record is that of the start
def test_an_interrupted_command_goes_on_to_the_same_bytes(
    stop: int,
    finished: int,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped after lines were written and before the record says so, with half a line behind them; chunks are of 16
    lines.
    """
    path = write(tmp_path / "in.txt", sources(40))
    command = [str(path), "--model", str(run), "--sample", "--output"]
    whole, out = tmp_path / "whole.txt", tmp_path / "out.txt"
    calls: list[int] = []

    def fail(target: Path, text: str) -> None:
        calls.append(0)
        if len(calls) == stop:
            raise KeyboardInterrupt
        target.write_text(text, encoding="utf-8")

    with monkeypatch.context() as patch:
        patch.setattr(output_file, "atomic_write_text", fail)
        assert main([*command, str(out)]) == 130
    with out.open("a", encoding="utf-8") as file:
        file.write("half a line")
    capsys.readouterr()
    assert main([*command, str(out)]) == 0
    said = f"{finished} of 40 lines are finished and as they were written"
    assert (said in capsys.readouterr().err) == (finished > 0)
    assert main([*command, str(whole)]) == 0
    assert out.read_bytes() == whole.read_bytes() and len(set(out.read_text().splitlines())) > 3
    with path.open("a", encoding="utf-8") as file:
        file.write("more\n")
    assert main([*command, str(out)]) == 0
    assert out.read_bytes().startswith(whole.read_bytes()) and len(out.read_bytes().split(b"\n")) == 42


def test_finished_lines_of_another_kind_are_refused_in_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = sources(6)
    path = write(tmp_path / "in.txt", lines)
    out = tmp_path / "out.txt"
    command = [str(path), "--model", str(run), "--output", str(out)]
    assert main(command) == 0
    before = out.read_bytes()
    refusals = []
    for change, more in (
        (lambda: None, ["--sample"]),
        (lambda: write(path, ["other", *lines[1:]]), []),
        (lambda: write(path, lines[:4]), []),
        (lambda: (write(path, lines), out.write_bytes(before.replace(b"\n", b"!", 1))), []),
        (lambda: out.write_bytes(before[:-3]), []),
        (lambda: out.write_bytes(before + b"mine\n"), []),
    ):
        change()
        capsys.readouterr()
        assert main([*command, *more]) == 2
        refusals.append(capsys.readouterr().err.splitlines()[-1])
    assert "made with temperature = 0.0, not 1.0" in refusals[0]
    assert all("belong to another input than" in refusals[n] for n in (1, 2))
    assert all("have changed since they were written" in refusals[n] for n in (3, 4))
    assert "has more than its 6 finished lines, and nothing is left to translate" in refusals[5]
    assert out.read_bytes() == before + b"mine\n"
    out.unlink()
    assert main(command) == 0 and out.read_bytes() == before
    output_file.record_path(out).unlink()
    assert main(command) == 2 and "is there already, and not as a translation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "folder: is a folder; name a file in it"),
        ("pipe", "pipe: is a pipe or a device; leave --output out"),
        ("out.txt.gz", "out.txt.gz: the output is not packed; write "),
        ("./in.txt", "in.txt: is the input itself; name another file"),
    ],
)
def test_a_place_that_is_no_output_is_refused_and_stays(
    name: str, said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: the command said to remove the user's folder or input, and wrote a record beside a device."""
    path = write(tmp_path / "in.txt", sources(2))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    assert main([str(path), "--model", str(run), "--output", f"{tmp_path}/{name}"]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before and path.read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lines": None}, "lines = null: must be a whole number; restore the file"),
        ({"counts": {}}, "counts: problems = null: must be an object {...}; restore the file"),
        ({"made_by": 1}, "made_by = 1: must be an object {...}; restore the file"),
    ],
)
def test_a_damaged_record_is_named(
    change: dict[str, object], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: a record without its counts was a traceback."""
    out = tmp_path / "out.txt"
    command = [str(write(tmp_path / "in.txt", sources(2))), "--model", str(run), "--output", str(out)]
    assert main(command) == 0
    record = output_file.record_path(out)
    record.write_text(json.dumps(json.loads(record.read_bytes()) | change), encoding="utf-8")
    assert main(command) == 2
    assert f"{record}: {said}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "policy/prompt.json",
            "{source}=",
            "{source}>",
            "made with prompt = '{n}: {source}=', not '{n}: {source}>'",
        ),
        (
            "policy/prompt.json",
            '"bo"',
            '"dz"',
            "made with languages = ['bo', 'zh', 'mt'], not ['dz', 'zh', 'mt']",
        ),
        ("config.json", '"nfc"', '"joiners"', "made with normalise = "),
        ("policy/tokenizer.json", "{", "{ ", "made with tokenizer = "),
    ],
)
def test_lines_of_an_earlier_prompt_are_refused(
    name: str, old: str, new: str, said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: a command went on behind lines that were asked in other words."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    out = tmp_path / "out.txt"
    command = [str(write(tmp_path / "in.txt", sources(2))), "--model", str(folder), "--output", str(out)]
    assert main(command) == 0
    changed = folder / name
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert main(command) == 2
    label = json.loads((folder / "policy/prompt.json").read_bytes())["kinds"][0]["source_label"]
    assert said.replace("{n}", label) in capsys.readouterr().err.splitlines()[-1]
    changed.write_text(text, encoding="utf-8")
    assert main(command) == 0
