"""SmolLM2-135M-Instruct through a whole run by its own chat template, from English to Spanish with own files."""

import json
from pathlib import Path

import pytest
from latin_pairs import write_latin_pairs
from smollm2 import smollm2_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.cache import cache_dir
from data.examples import Example
from data.saved_prompt import load
from grpo.run import main

SETTINGS = """
[prompt]
template = "chat"
system = "You are a translator."
[model]
max_prompt_tokens = 128
[sft]
num_steps = 2
batch_size = 4
[rollout]
num_prompts = 2
group_size = 3
max_new_tokens = 24
[reward]
gates = []
threshold = 0.0
[train]
num_steps = 2
[eval]
probes = false
max_new_tokens = 24
bootstrap_samples = 50
"""


@pytest.mark.slow
@pytest.mark.real
def test_an_instruct_model_goes_from_data_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = smollm2_folder(cache_dir())
    if not model.is_dir():
        pytest.skip("SmolLM2-135M-Instruct is not in the cache; run `python tests/support/smollm2.py` first")
    config = tmp_path / "chat.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    run = tmp_path / "run"
    places = [
        f"run_dir={run}",
        *write_latin_pairs(tmp_path),
        f"model.policy={model}",
        f"reward.encoder=static:{model}",
    ]
    assert main(["--config", str(config), *places, f"reward.held_out=static:{model}", "device=cpu"]) == 0
    assert "<|im_start|>system\\n\nYou are a translator.<|im_end|>" in capsys.readouterr().out
    before = json.loads((run / "eval" / "untouched.json").read_text(encoding="utf-8"))["items"]
    written = sum(bool(item["output"]) for item in before)
    assert written == len(before) == 10
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    prompt = load(run / "policy", tokenizer)
    example = Example("", "The dog sleeps here.", "", "", "", "en", "es")
    inputs = tokenizer.apply_chat_template(
        prompt.wording.messages(example), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert inputs["input_ids"][0].tolist() == prompt.encode_prompt(example)
    policy = AutoModelForCausalLM.from_pretrained(run / "policy")
    (row,) = policy.generate(**inputs, max_new_tokens=60, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert int(row[-1]) == prompt.end and prompt.decode_completion(row.tolist())
    assert (run / "report.html").exists()
