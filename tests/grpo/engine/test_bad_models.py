"""Model folders of every kind of badness: one sentence that names the folder, or a model that runs; no code
from a folder is ever run.
"""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from explore import bad_json, bad_weights, explore, read_or_refuse, times, with_header
from safetensors.torch import load_file, save_file
from tiny import change

from data.errors import InputError
from data.model_folder import input_errors
from data.template import Wording
from grpo.engine.model import load_policy, load_tokenizer
from grpo.engine.self_check import check_packing
from grpo.stages.context import prompt_of

CPU = torch.device("cpu")
USES: dict[str, Callable[[Path], Any]] = {
    "config.json": lambda folder: check_packing(load_policy(folder, CPU)),
    "generation_config.json": lambda folder: check_packing(load_policy(folder, CPU)),
    "model.safetensors": lambda folder: check_packing(load_policy(folder, CPU)),
    "tokenizer.json": load_tokenizer,
    "tokenizer_config.json": load_tokenizer,
}


@times
@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore")
def test_any_damage(times: int, name: str, model: Path) -> None:
    content = (model / name).read_bytes()

    def holds(damage: bytes) -> None:
        (model / name).write_bytes(damage)

        def used() -> Any:
            with input_errors(model, "is no model that can be run"):  # as in the model stage
                return USES[name](model)

        read_or_refuse(used, str(model))

    explore(40 * times, holds, bad_weights(content) if name.endswith("safetensors") else bad_json(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_hidden_layers": 10**12},
            r"config\.json: num_hidden_layers = 1000000000000, but the weights hold 41 tensors",
        ),
        (
            {"vocab_size": 10**12},
            r"config\.json: describes a model of [\d,]+ parameters, but the weights hold [\d,]+ numbers",
        ),
        ({"intermediate_size": 10**9}, r"config\.json: describes a model of [\d,]+ parameters"),
        ({"hidden_size": -1}, r"config\.json describes no model that transformers can build"),
        ({"num_attention_heads": 0}, r"model"),
        (
            {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4},
            r"the weights lack model\.layers\.3\.",
        ),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}},
            r"describes no model",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"model"),
    ],
)
def test_settings_that_do_not_fit_the_weights(
    changes: dict[str, Any], message: str, model: Path, tmp_path: Path
) -> None:
    """Past bug: lacking tensors were filled with random numbers; huge sizes took all memory; TypeErrors; a
    question about running code.
    """
    (model / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    change(model / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        load_policy(model, CPU)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_tokenizer_is_not_run(model: Path, tmp_path: Path) -> None:
    (model / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    change(
        model / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": ["own.Own", "own.Own"]},
    )
    read_or_refuse(lambda: load_tokenizer(model), str(model))
    assert not (tmp_path / "ran").exists()


class Malice:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_unread(name: str, model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(Malice(tmp_path / "ran")))
    with pytest.raises(
        InputError, match=rf"only a pickle \({name}\), which can run code when read; save them as safetensors"
    ):
        load_policy(model, CPU)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_the_weights_is_not_opened(model: Path, tmp_path: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Malice(tmp_path / "ran")))
    assert load_policy(model, CPU).config.vocab_size == 259 and not (tmp_path / "ran").exists()


def test_an_adapter_is_refused(model: Path) -> None:
    """Past bug: the base model was loaded and the adapter left out without a word."""
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "hub/other"}')
    with pytest.raises(
        InputError, match=r"is an adapter \(adapter_config\.json\); merge it into its base model"
    ):
        load_policy(model, CPU)


@pytest.mark.parametrize("damage", ["header", "overlap", "dtype", "folder", "loop", "nan", "lost", "empty"])
def test_damaged_weights(damage: str, model: Path) -> None:
    path = model / "model.safetensors"
    content = path.read_bytes()
    tensors = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    path.unlink()
    if damage == "header":
        path.write_bytes((1 << 62).to_bytes(8, "little") + content[8:])
    elif damage == "overlap":
        header[name]["data_offsets"] = [0, header[name]["data_offsets"][1] - header[name]["data_offsets"][0]]
        path.write_bytes(with_header(content, json.dumps(header).encode()))
    elif damage == "dtype":
        path.write_bytes(
            with_header(content, json.dumps({**header, name: {**header[name], "dtype": "F4"}}).encode())
        )
    elif damage == "folder":
        path.mkdir()
    elif damage == "loop":
        path.symlink_to(path)
    elif damage == "empty":
        save_file({}, path, metadata={"format": "pt"})
    elif damage == "nan":
        tensors[name][3, 4] = torch.nan
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        save_file(
            {key: tensor for key, tensor in tensors.items() if key != name}, path, metadata={"format": "pt"}
        )
    said = {
        "nan": rf"not finite in {name}",
        "lost": rf"the weights lack {name}",
        "empty": "num_hidden_layers = 3, but the weights hold 0",
    }
    with pytest.raises(
        InputError, match=said.get(damage, r"model\.safetensors: not a readable safetensors file")
    ):
        load_policy(model, CPU)


def test_a_tokenizer_of_another_model(model: Path) -> None:
    """Past bug: a token without a row in the model ended in an IndexError in the middle of the first step."""
    change(model / "config.json", vocab_size=200)
    with pytest.raises(
        InputError, match=r"config\.json: vocab_size = 200, but the tokenizer beside it gives the token 258"
    ):
        load_tokenizer(model)


def test_an_added_word_without_a_row(model: Path) -> None:
    """Past bug: a text with the word ended in an IndexError in the middle of the model stage."""
    tokenizer = load_tokenizer(model)
    tokenizer.add_tokens(["ñawi"])
    tokenizer.save_pretrained(model)
    with pytest.raises(InputError, match=r"gives the token 259 \(ñawi\); .*resize_token_embeddings\(260\)"):
        load_tokenizer(model)


def test_a_special_token_without_a_row_matters_where_the_chat_template_writes_it(model: Path) -> None:
    """Past bug: the first prompt ended in an IndexError. Gemma's token for images has no row and is never written."""
    tokenizer = load_tokenizer(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turns = "{% for message in messages %}<turn>{{ message['content'] }}{% endfor %}"
    tokenizer.chat_template = turns.replace("<turn>", "[user] ")
    tokenizer.save_pretrained(model)
    assert prompt_of(model, Wording(template="chat")).chat
    tokenizer.chat_template = turns
    tokenizer.save_pretrained(model)
    assert prompt_of(model, Wording()).chat is None
    with pytest.raises(InputError, match=r"vocab_size = 259, .* the token 259 \(<turn>\)"):
        prompt_of(model, Wording(template="chat"))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"a', "not a valid JSON file"),
        ("[]", "Unrecognized model"),
        (None, "num_attention_heads|The hidden size|hidden_size"),
    ],
)
def test_a_damaged_config_is_named_and_not_the_tokenizer(
    model: Path, content: str | None, cause: str
) -> None:
    """Past bug: "no tokenizer that transformers can read", as its class comes from config.json."""
    path = model / "config.json"
    if content is None:
        change(path, hidden_size=31)
    else:
        path.write_text(content)
    with pytest.raises(
        InputError, match=rf"config\.json describes no model that transformers can build \(.*({cause})"
    ):
        load_tokenizer(model)


def test_a_model_without_a_tokenizer(model: Path) -> None:
    """Past bug: transformers made one without a vocabulary, or gave a page of advice on its own packages."""
    for file in model.glob("*token*"):
        file.unlink()
    with pytest.raises(InputError, match=r": no tokenizer beside the model; copy tokenizer\.json and"):
        load_tokenizer(model)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_folder_where_a_file_should_be(name: str, model: Path) -> None:
    (model / name).unlink()
    (model / name).mkdir()
    read_or_refuse(lambda: load_tokenizer(model), str(model))


def test_a_panic_becomes_a_sentence_and_an_interrupt_does_not() -> None:
    """Past bug: tokenizers' PanicException is no Exception, and passed every `except Exception`."""
    panic = type("PanicException", (BaseException,), {})
    with (
        pytest.raises(InputError, match=r"x: no tokenizer \(PanicException: no entry"),
        input_errors("x", "no tokenizer"),
    ):
        raise panic("no entry found for key")
    with pytest.raises(KeyboardInterrupt), input_errors("x", "no tokenizer"):
        raise KeyboardInterrupt
