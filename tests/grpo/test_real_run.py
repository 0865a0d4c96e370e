"""The default model on the default corpus, two steps of each stage: the real code path, minutes on a small
machine.
"""

import json
from pathlib import Path

import pytest
from repository import CONFIGS
from tiny_run import metrics

from data.cache import cache_dir
from grpo.run import main

CONFIG = CONFIGS / "mt.toml"
SHORT = [
    "sft.num_steps=2",
    "train.num_steps=2",
    "eval.probes=false",
    "data.test_size=20",
    "data.test_min_per_language=5",
    "rollout.num_prompts=4",
]


@pytest.mark.slow
@pytest.mark.real
def test_default_model_on_default_corpus(tmp_path: Path) -> None:
    if (
        not (cache_dir() / "models" / "gemma-3-270m-trimmed").is_dir()
        or not (cache_dir() / "packages" / "pip").is_dir()
    ):
        pytest.skip("the default model or corpus is not in the cache; run `make data` and `make sft` first")
    run = tmp_path / "run"
    assert main(["--config", str(CONFIG), f"run_dir={run}", *SHORT]) == 0
    first = metrics(run, "train")[0]
    assert first["ratio_gap_max"] < 1e-4
    assert first["kl_mean"] == pytest.approx(0.0, abs=1e-8)
    assert first["ratio_mean"] == 1.0
    assert json.loads((run / "corpus.json").read_text(encoding="utf-8"))["pieces"]["equal_share"] > 0.95
    assert (run / "policy" / "Notice").is_file()
