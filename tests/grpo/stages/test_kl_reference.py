"""The model from which GRPO's KL is counted: the warm start, or the untouched model."""

from pathlib import Path

import pytest
from tiny_run import Command, metrics, weights

from grpo.run import main


@pytest.mark.usefixtures("own_cache")
def test_the_kl_counts_from_the_warm_start_or_the_untouched_model(command: Command, tmp_path: Path) -> None:
    """At the first step the policy is the warm start; where that is the untouched model, both are the same to the bit."""
    variants = {
        "warm_start": [],
        "untouched": ["loss.kl_reference=untouched"],
        "none": ["sft.num_steps=0", "data.warm_start_share=0"],
        "both": ["sft.num_steps=0", "data.warm_start_share=0", "loss.kl_reference=untouched"],
    }
    first = {}
    for name, settings in variants.items():
        more = ["train.num_steps=2", "sft.optim.lr=1e-2", *settings]
        assert main(command(name, *more)) == 0
        first[name] = next(
            row["kl_mean"] for row in metrics(tmp_path / name / "run") if row["stage"] == "train"
        )
    assert first["warm_start"] == first["none"] == first["both"] == 0
    assert first["untouched"] > 1e-3
    runs = {name: weights(tmp_path / name / "run") for name in variants}
    assert runs["both"] == runs["none"] and runs["untouched"] != runs["warm_start"]
