"""The small demonstrations of other languages: from their packages through the whole command, on the tiny model."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from repository import CONFIGS

from data.cache import cache_dir
from data.sources.package_corpus import INTERFACES
from grpo.config_file import load_config
from grpo.run import main

TINY = [
    "device=cpu", "threads=1", "model.max_prompt_tokens=256", "sft.num_steps=2", "sft.batch_size=4", "rollout.num_prompts=2",
    "rollout.group_size=3", "rollout.max_new_tokens=8", "train.num_steps=2", "checkpoint.every=2", "eval.probes=false",
    "eval.max_new_tokens=8", "eval.bootstrap_samples=20", "anchor.sft=0.0", "data.test_size=20", "data.max_examples=300",
    "model.vocabulary=trimmed", "reward.threshold=-1.0", "data.test_min_per_language=0", "data.dev_size=40",
]  # fmt: skip


@pytest.mark.parametrize("name", ["ug_zh", "gn_en"])
def test_the_configuration_is_of_the_corpus_that_it_names(name: str) -> None:
    data = load_config(CONFIGS / f"{name}.toml").data
    corpus = INTERFACES[data.corpus]
    assert (corpus.language, corpus.target) == tuple(
        name.split("_")
    ) and data.completion_language == corpus.target


@pytest.mark.real
@pytest.mark.parametrize("name", ["ug_zh", "gn_en"])
def test_a_demonstration_runs_from_its_packages_to_the_report(
    name: str, tiny_folder: Path, tmp_path: Path
) -> None:
    packages = [
        package.name
        for origin in INTERFACES[load_config(CONFIGS / f"{name}.toml").data.corpus].origins
        for package in origin.packages
        if package.registry == "debian"
    ]
    if not all((cache_dir() / "packages" / "debian" / package).exists() for package in packages):
        pytest.skip(
            f"{', '.join(packages)} are not in the cache; run `make train CONFIG=configs/{name}.toml` first"
        )
    own = [
        f"run_dir={tmp_path / 'run'}",
        f"model.policy={tiny_folder}",
        f"reward.encoder=static:{tiny_folder}",
    ]
    if name == "gn_en" and find_spec("py3langid"):
        own += ["reward.identifier=py3langid", 'reward.gates=["language"]']
    assert main(["--config", str(CONFIGS / f"{name}.toml"), *TINY, *own]) == 0
    system = json.loads((tmp_path / "run" / "eval" / "trained.json").read_text(encoding="utf-8"))
    assert system["target_language"] == name.split("_")[1] and len(system["items"]) == 20
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert ('dir="rtl"' in page) == (name == "ug_zh")
    if "reward.identifier=py3langid" in own:
        assert system["language"]["references_share"] > 0.8 and "Language of the outputs" in page
