"""A bill that is made before the run has counted its corpus: by the same lengths, and as narrow, as afterwards."""

import re
from pathlib import Path

import pytest
from command_line import outcome
from tiny_run import arguments
from tiny_study import write_study

from grpo.config_file import load_config
from grpo.run import main
from grpo.runtime import device
from grpo.stages import machine
from grpo.stages.dry_run import Inputs, counted_config, open_inputs
from grpo.stages.duration import SPREAD, UNCOUNTED_SPREAD, spread, typical_lengths
from grpo.stages.plan import corpus_pairs
from grpo.stages.token_limits import known_limits
from grpo.study.__main__ import main as study_main

pytestmark = pytest.mark.usefixtures("own_cache")
OPEN = ("model.max_prompt_tokens=0", "rollout.max_new_tokens=0")


@pytest.fixture(autouse=True)
def given_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "matmul_rate", lambda compute: 1e5)


def test_the_lengths_are_those_that_the_run_counts(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    start = arguments(corpus, tiny_folder, tmp_path / "run", *OPEN)
    config = load_config(start[1], OPEN)
    with counted_config(config, open_inputs(config, device.choose("cpu"))) as counted:
        early = (
            typical_lengths(counted),
            spread(counted),
            dict(known_limits(counted)),
            corpus_pairs(counted),
        )
    assert not (tmp_path / "run").exists() and not Path(counted.run_dir).exists()
    assert spread(config) == UNCOUNTED_SPREAD and early[0] != typical_lengths(config)
    assert outcome(main, [*start, "--stages", "data,model"]) == (0, "")
    assert early == (typical_lengths(config), SPREAD, dict(known_limits(config)), corpus_pairs(config))
    with counted_config(config, open_inputs(config, device.choose("cpu"))) as same:
        assert same is config


def test_without_model_or_corpus_nothing_is_counted(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    config = load_config(arguments(corpus, tiny_folder, tmp_path / "run")[1])
    with counted_config(config, Inputs(None, None)) as same:
        assert same is config


def test_the_range_of_a_studys_bill_is_as_narrow_as_a_runs(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: its ends lay 12 times apart, though the corpus was there."""
    assert study_main([*write_study(tmp_path, corpus, tiny_folder), "--check"]) == 0
    found = re.search(r"^ +likely ([\d.]+) to ([\d.]+) hours ", capsys.readouterr().out, re.MULTILINE)
    assert found is not None
    low, high = map(float, found.groups())
    assert low > 1 and high / low == pytest.approx(SPREAD[1] / SPREAD[0], rel=0.05)
