"""Command lines of every kind of badness: exit code 0, or 2 with one line that begins with `error:`; never a
traceback.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import outcome
from explore import check_sentence, explore, times
from hypothesis import strategies as st
from invented_settings import KEYS, toml_values
from repository import CONFIGS, ROOT
from tiny import tiny_gemma

from benchmarks.run import count
from eval.attacks import main as attacks
from grpo.run import main
from grpo.runtime import device
from reward.distil.__main__ import main as distil


@pytest.fixture(autouse=True)
def cheap(
    given_rate: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(device, "configure", lambda *settings: None)
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.mktemp("cache")))


def check_outcome(command, argv: list[str]) -> None:
    code, said = outcome(command, argv)
    if said.startswith("usage: "):
        assert code == 2 and said.count("error: ") == 1, (argv, said)
    elif code:
        assert code == 2 and said.startswith("error: ") and said.count("\n") == 1, (argv, said)
        check_sentence(said.removeprefix("error: ").removesuffix("\n"))
    else:
        assert not said, (argv, said)


options = [
    "--check", "--stages", "--config", "--config=", "--", "-", "--stages=", "data", "fly,data", "--chec", "@x", "-c",
    "--help",
]  # fmt: skip
words = st.text(max_size=10) | st.sampled_from(options)
overrides = st.tuples(st.sampled_from(KEYS), toml_values).map("=".join)
shipped = [str(CONFIGS / "mt.toml"), str(CONFIGS / "headline.toml")]
files = st.sampled_from([*shipped, "/nowhere.toml", "", ".", "/dev/null", "a\0b", "x" * 300])


@times
def test_any_arguments(times: int) -> None:
    def holds(file: str, rest: list[str]) -> None:
        check_outcome(main, ["--config", file, "--check", *rest])

    explore(800 * times, holds, files, st.lists(words | overrides, max_size=4))


@times
def test_any_arguments_of_the_other_commands(times: int) -> None:
    """What is drawn never names a configuration that can be used, so nothing is measured or distilled."""
    unusable = st.sampled_from(["/nowhere.toml", "", "a\0b", "x" * 300, str(ROOT / "README.md"), "/dev/zero"])

    def holds(command, file: str, rest: list[str]) -> None:
        check_outcome(command, ["--config", file, *rest])

    explore(200 * times, holds, st.sampled_from([attacks, distil]), unusable, st.lists(words, max_size=3))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["run_dir=" + "x" * 300], "no name of a folder may have more than 255 bytes"),
        (["model.policy=" + "x" * 300], "File name too long"),
        (["reward.shown=['~no.such.user/x.py:f']"], "write the path without ~"),
        (["reward.shown=['" + "x" * 300 + ".py:f']"], "File name too long"),
        (["run_dir=\udcff"], "cannot be written as text"),
        (["reward.threshold=1.5"], "reward.threshold = 1.5"),
        (["run_dir=a\nb\x1b[31m=", "seed=x"], "seed = 'x'"),
        (["\x1b[31m\nx=1"], r"unknown key '\x1b[31m\nx'"),
        (["train.num_steps=" + "z" * 100_000], "train.num_steps"),
    ],
)
def test_what_used_to_end_in_a_traceback(more: list[str], message: str) -> None:
    """Past bug: names that are too long, a home folder of nobody, half a character, control characters on the
    terminal.
    """
    code, said = outcome(main, ["--config", str(CONFIGS / "mt.toml"), "--check", *more])
    assert (
        code == 2
        and said.startswith("error: ")
        and said.count("\n") == 1
        and message in said
        and "\x1b" not in said
    ), said


TOKENS = [
    json.dumps({"tokens": {"prompt_tokens": prompts, "completion_tokens": {"p50": 3}}})
    for prompts in (
        3,
        {"p50": "x"},
        {"p50": float("inf")},
        {"p50": float("nan")},
        {"p50": 10**400},
        {"p50": -1},
        {},
    )
]


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000, "\x00", *TOKENS])
def test_a_damaged_run_folder_is_named_by_check(content: str, tmp_path: Path) -> None:
    """Past bug: --check read corpus.json of the run folder and ended in a traceback."""
    (tmp_path / "corpus.json").write_text(content)
    code, said = outcome(main, ["--config", str(CONFIGS / "mt.toml"), "--check", f"run_dir={tmp_path}"])
    assert code == 2 and str(tmp_path / "corpus.json") in said


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8 + b"{}", (1 << 40).to_bytes(8, "little") + b"{}", b"\x02" + b"\0" * 7 + b"{}"],
)
def test_a_damaged_model_is_named_by_check(content: bytes, tmp_path: Path) -> None:
    """Past bug: --check read the headers of the weights and ended in a traceback; and weights without any
    embedding in another.
    """
    tiny_gemma().config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    code, said = outcome(main, ["--config", str(CONFIGS / "mt.toml"), "--check", f"model.policy={tmp_path}"])
    empty = content.endswith(b"{}") and content[0] == 2
    assert code == 2 and str(tmp_path / ("config.json" if empty else "model.safetensors")) in said


def test_the_real_command_says_one_line_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"seed = \xff")
    command = [sys.executable, "-m", "grpo.run", "--config", str(tmp_path / "c.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'c.toml'}: not UTF-8 at byte 7; save it as UTF-8\n"


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "x", "9" * 5000, "1000001", ""])
def test_the_benchmark_takes_only_counts(text: str) -> None:
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        count(text)


def test_attacks_on_a_negative_number_of_items() -> None:
    code, said = outcome(attacks, ["--config", str(CONFIGS / "mt.toml"), "--items", "-3"])
    assert (code, said) == (2, "error: --items -3: a number from 1 is needed, or 0 for all\n")


def test_a_configuration_without_its_option_is_named() -> None:
    said = "error: the following arguments are required: --config; write --config own.toml\n"
    assert outcome(main, ["own.toml", "--check"]) == (2, said)
