"""The folder of a trained model: whoever generates from it stops where the model was taught to."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import change
from tiny_run import arguments
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.prompt import Prompt
from grpo.engine.model import load_policy, load_tokenizer
from grpo.run import main
from grpo.stages.hooks import name_ends

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("generation", "config", "ends"),
    [
        ({"eos_token_id": [5, 7]}, 1, [1, 5, 7]),
        ({"eos_token_id": 5}, [1, 9], [1, 5, 9]),
        ({}, None, 1),
        ({"eos_token_id": 1}, 1, 1),
    ],
)
def test_the_end_token_of_the_tokenizer_is_named_with_those_before(
    generation: dict[str, Any], config: Any, ends: Any, model: Path
) -> None:
    """Past bug: generate() never stopped, for generation_config.json named the end tokens of a chat and not
    the one that was trained.
    """
    (model / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.6} | generation)
    )
    change(model / "config.json", eos_token_id=config, pad_token_id=None)
    policy = load_policy(model, CPU)
    name_ends(policy, Prompt.of(load_tokenizer(model)))
    assert policy.generation_config.eos_token_id == policy.config.eos_token_id == ends
    assert (policy.generation_config.pad_token_id, policy.generation_config.temperature) == (0, 0.6)
    # with one, a model that is loaded again would not train that token's row
    assert policy.config.pad_token_id is None


def test_padding_that_is_named_stays(model: Path) -> None:
    (model / "generation_config.json").write_text(json.dumps({"pad_token_id": 3}))
    policy = load_policy(model, CPU)
    name_ends(policy, Prompt.of(load_tokenizer(model)))
    assert policy.generation_config.pad_token_id == 3


@pytest.mark.usefixtures("own_cache")
def test_generate_stops_at_the_end_token_of_an_exported_folder(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7]}))
    settings = ["threads=1", "sft.num_steps=1", f"reward.encoder=static:{model}"]
    assert main(arguments(corpus, model, tmp_path / "run", "--stages", "data,model,sft", *settings)) == 0
    folder = tmp_path / "run" / "warm_start"
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1, 5, 7]
    taught = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        head = taught.get_output_embeddings()
        # the end, always
        head.register_forward_hook(
            lambda module, inputs, logits: logits.index_fill(-1, torch.tensor([1]), 1e4)
        )
    written = taught.generate(**tokenizer("天", return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert written[0, -1] == 1 and written.shape[1] == len(tokenizer("天")["input_ids"]) + 1
