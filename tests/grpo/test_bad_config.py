"""Configurations of every kind of badness: each is refused in one sentence that names file or key, or it is
one a run can be made of.
"""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from explore import damaged_bytes, explore, read_or_refuse, times
from hypothesis import strategies as st
from invented_settings import KEYS, toml_values
from repository import CONFIGS
from run_object import config_of

from data.documents import LEVELS, TOML_BYTES
from data.errors import InputError
from grpo.config import Config
from grpo.config_check import BOUNDS, check
from grpo.config_file import load_config
from grpo.runtime.device import choose
from grpo.stages import plan
from reward.distil.config import read_config

LAST_WORDS = [key.rpartition(".")[2] for key in KEYS]  # as the rules of [data] say them
ODD_KEYS = ["train", "train.", ".seed", "data..seed", "reward.settings" + ".a" * 5000, "\ud800", "a\0"]


pytestmark = pytest.mark.usefixtures("given_rate")


def check_usable(config: Config) -> None:
    """What was accepted can be written down, says nothing that is no number, and has a bill."""
    json.dumps(dataclasses.asdict(config), ensure_ascii=False, allow_nan=False).encode()
    check(config)
    bill = plan.make_plan(dataclasses.replace(config, run_dir="nowhere"), None, choose("cpu"))
    assert (
        math.isfinite(bill.flops)
        and bill.memory_bytes > 0
        and bill.seconds >= 0
        and len(bill.lines(config)) == 6
    )


def check_file(path: Path, content: bytes, *overrides: str) -> None:
    path.write_bytes(content)
    config = read_or_refuse(
        lambda: load_config(path, overrides), str(path), *KEYS, *LAST_WORDS, "override", "data."
    )
    if config is not None:
        check_usable(config)


@times
def test_any_bytes_in_the_file(times: int, tmp_path: Path) -> None:
    anything = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)
    explore(600 * times, lambda content: check_file(tmp_path / "c.toml", content), anything)


@times
@pytest.mark.parametrize("name", ["mt.toml", "headline.toml"])
def test_a_shipped_file_damaged(times: int, name: str, tmp_path: Path) -> None:
    explore(
        500 * times,
        lambda content: check_file(tmp_path / "c.toml", content),
        damaged_bytes((CONFIGS / name).read_bytes()),
    )


@times
def test_any_value_of_any_setting(times: int, tmp_path: Path) -> None:
    def holds(key: str, value: str, in_file: bool) -> None:
        *sections, name = key.split(".")
        text = (f"[{'.'.join(sections)}]\n" if sections else "") + f"{name} = {value}\n"
        check_file(
            tmp_path / "c.toml",
            text.encode(errors="surrogatepass") if in_file else b"",
            *([] if in_file else [f"{key}={value}"]),
        )

    explore(2000 * times, holds, st.sampled_from(KEYS), toml_values, st.booleans())


@times
def test_any_overrides(times: int, tmp_path: Path) -> None:
    keys = st.text(max_size=12) | st.sampled_from([*KEYS, *ODD_KEYS])
    override = st.tuples(keys, toml_values).map("=".join) | st.text(max_size=20)
    explore(
        800 * times,
        lambda overrides: check_file(tmp_path / "c.toml", b"", *overrides),
        st.lists(override, max_size=3),
    )


@times
def test_any_bytes_in_a_distillation(times: int, tmp_path: Path) -> None:
    def holds(content: bytes) -> None:
        (tmp_path / "c.toml").write_bytes(content)
        read_or_refuse(
            lambda: read_config(tmp_path / "c.toml"), str(tmp_path), "pairs.", "student.", "training."
        )

    explore(
        400 * times, holds, damaged_bytes((CONFIGS / "encoder_bo.toml").read_bytes()) | st.binary(max_size=40)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train.optim.lr = nan\n",
            r"c\.toml: train\.optim\.lr = nan: a finite number, at most 9,007,199,254,740,992, is needed",
        ),
        ("rollout.temperature = inf\n", r"rollout\.temperature = inf: a finite number"),
        (f"seed = {'9' * 5000}\n", r"c\.toml: not TOML: Exceeds the limit"),
        (f"seed = 0x{'f' * 9000}\n", r"seed = a whole number of 36000 bits"),
        (f"loss.kl_coef = 0x{'f' * 900}\n", r"loss\.kl_coef = a whole number of 3600 bits"),
        (f"reward.gates = {'[' * 5000}", r"c\.toml: .*nested too deeply"),
        (f"reward.settings{'.a' * 5000} = 1\n", rf"nested deeper than {LEVELS} levels"),
        (
            "reward.settings.chrf.since = 1979-05-27\n",
            r"reward\.settings\.chrf\.since = 1979-05-27: no setting is a date",
        ),
        ('run_dir = "a\\u0000b"\n', r"run_dir = 'a\\x00b': has a character that cannot be written"),
        ('run_dir = ""\n', r"run_dir is empty"),
        ("threads = 5000\n", r"threads = 5000: must be at most 1,024"),
        ("#" * (TOML_BYTES + 1), r"c\.toml: longer than 1,048,576 bytes"),
    ],
)
def test_what_used_to_pass_or_to_end_in_a_traceback(text: str, message: str, tmp_path: Path) -> None:
    """Past bug: ZeroDivisionError, ValueError, OverflowError and RecursionError for a line of TOML; NaN and
    negative numbers accepted.
    """
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(tmp_path / "c.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert load_config(tmp_path / "c.toml").seed == 3


def test_two_lines_are_not_one_value(tmp_path: Path) -> None:
    """Past bug: an override's value was cut at its first line, and the rest forgotten."""
    assert config_of(tmp_path, ['run_dir="a"\nb=1']).run_dir == '"a"\nb=1'


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="/dev/zero: longer than"):
        load_config("/dev/zero")


@pytest.mark.parametrize("path", ["", ".", "a\0b", "x" * 5000, "\ud800.toml", "~no.such.user/c.toml"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(path)


def test_every_number_has_a_rule() -> None:
    """-1e6 and 1e15 are refused for each number outside [data] and [reward], which have their own rules."""
    ruled = [key for bounds in BOUNDS for key in bounds.names.split()]
    assert len(set(ruled)) == len(ruled)  # each is said once
    numeric = [key for key in KEYS if not key.startswith(("data.", "reward."))]
    for key in numeric:
        value = Config()
        for name in key.split("."):
            value = getattr(value, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert key in ruled, f"{key} has no line in grpo/config_check.py"
    check(Config())
