"""The study for one card: how many arms it has, and that its bill is within two hours on an H100."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grpo.config_file import load_config
from grpo.engine.products import FORMATS
from grpo.runtime.device import Compute
from grpo.stages.machine import Machine
from grpo.study.config import load_study
from grpo.study.cost import make_bill

H100 = Machine(790e12, FORMATS["fp16"], memory=80_000_000_000, copy_rate=3.0e12)


def test_it_has_26_arms_at_three_rates_and_three_seeds_in_two_hours_by_its_bill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "of", lambda compute: H100)
    study = load_study("configs/study_gpu.toml", [f"study_dir={tmp_path}/study"])
    rates = Counter(arm.name.rpartition("_")[0] for arm in study.arms)
    assert (len(rates), len(study.arms), len(study.seeds), study.side_by_side) == (27, 79, 3, 6)
    assert {name for name, count in rates.items() if count < 3} == {"random"}
    compute = Compute(torch.device("cuda"), FORMATS["fp16"])
    bill = make_bill(study, study.arms, study.seeds, None, compute)
    # a process for each warm start, two for each arm and seed
    assert bill.start_seconds == 30 * (3 + 2 * 237) / 6
    assert 0.5 * 3600 < bill.seconds <= 2 * 3600
    assert bill.summary().startswith("bill: at least") and bill.summary().endswith("6 arms side by side")
    (line,) = bill.memory_lines()
    assert "at most of 80 GB" in line and "write" not in line
    arm = replace(bill.arms[0], card_bytes=9e9)
    twelve = replace(bill, arms=(arm,) * 6, seeds=2, side_by_side=12, card_memory=140e9)
    assert twelve.memory_lines() == ["card  144 GB at most of 140 GB; write side_by_side = 11"]
    assert not replace(twelve, card_memory=0.0).memory_lines()


RECIPES = {
    "mt": (240, 128, 1e-4, 4.0, 0.0, "none"),  # learns from all pairs, by sft.pairs
    "zh_dz": (225, 128, 1e-4, 4.0, 0.65, "term"),
    "headline": (450, 32, 1e-4, 4.0, 0.65, "term"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_job_for_a_card_has_the_task_of_its_job_for_a_cpu(name: str) -> None:
    job = load_config(f"configs/{name}_gpu.toml")
    share = job.data.warm_start_share
    assert job.data == replace(load_config(f"configs/{name}.toml").data, warm_start_share=share)
    recipe = job.sft.num_steps, job.sft.batch_size, job.sft.optim.lr, job.anchor.sft, share, job.guide.mode
    assert recipe == RECIPES[name]
    assert (job.sft.pairs == "all") == (share == 0)
