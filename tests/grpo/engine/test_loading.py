"""Loading straight from the files: the bits that transformers loads, no memory beside the model, and transformers where
the files are not plainly the model.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT
from safetensors.torch import load_file, save_file
from tiny import Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import llama_with_longer_context, mistral, qwen2, qwen3
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from data.errors import InputError
from grpo.engine import loading
from grpo.engine.halves import ExactParameters
from grpo.engine.loading import load_model, read_model, read_tensor, stored_tensors
from grpo.engine.model import load_policy
from grpo.engine.pretrained import gemma_folder
from grpo.engine.source import ModelSource
from grpo.engine.weight_forms import split_weights

CPU = torch.device("cpu")
FAMILIES = [tiny_gemma, tiny_llama, tiny_gpt2, mistral, qwen2, qwen3, llama_with_longer_context]
WEIGHT = "model.layers.1.mlp.up_proj.weight"


def nothing(_model: PreTrainedModel) -> None: ...


def read(folder: Path) -> PreTrainedModel:
    """Without transformers' help."""
    model = read_model(str(folder), folder, CPU, nothing)
    assert model is not None
    return model


def by_transformers(folder: Path) -> PreTrainedModel:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def plain_facts(model: PreTrainedModel) -> Iterator[tuple[str, str, str]]:
    """Everything that modules know and that is no function, tensor or module."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if (
                not callable(value)
                and not isinstance(value, Tensor)
                and key not in ("_parameters", "_buffers", "_modules")
            ):
                yield name, key, str(value)


def assert_same(found: PreTrainedModel, expected: PreTrainedModel) -> None:
    """In all that a model has: numbers, what is tied, buffers, settings, what modules know of themselves."""
    assert type(found) is type(expected)
    for kind in ("named_parameters", "named_buffers"):
        pairs = zip(*(getattr(m, kind)(remove_duplicate=False) for m in (found, expected)), strict=True)
        for (name, one), (other_name, other) in pairs:
            assert name == other_name and one.dtype == other.dtype and one.stride() == other.stride()
            assert torch.equal(one, other) and one.requires_grad == other.requires_grad, name
    assert [*dict(found.named_parameters())] == [*dict(expected.named_parameters())]
    assert found.config.to_dict() == expected.config.to_dict()
    assert found.generation_config.to_dict() == expected.generation_config.to_dict()
    assert [*plain_facts(found)] == [*plain_facts(expected)]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"]
)
@pytest.mark.parametrize("make", FAMILIES)
def test_a_model_is_the_one_that_transformers_loads(
    make: Make, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file or several, read in pieces where types differ."""
    monkeypatch.setattr(loading, "STAGING", 1000)
    make().to(dtype).save_pretrained(tmp_path / "one")
    make().to(dtype).save_pretrained(tmp_path / "parts", max_shard_size=f"{15 * dtype.itemsize}KB")
    assert len([*(tmp_path / "parts").glob("*.safetensors")]) > 2
    for folder in (tmp_path / "one", tmp_path / "parts"):
        assert_same(read(folder), by_transformers(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_halves_are_read_as_such(dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "STAGING", 1000)
    qwen2().to(dtype).save_pretrained(tmp_path)
    expected = by_transformers(tmp_path)
    split_weights(expected)
    found = read_model(str(tmp_path), tmp_path, CPU, split_weights)
    assert found is not None
    for values, buffers in (
        (found.parameters(), expected.parameters()),
        (found.buffers(), expected.buffers()),
    ):
        assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(values, buffers, strict=True))
    assert {p.grad_dtype for p in found.parameters()} == {torch.float32}
    assert {value.dtype for value in ExactParameters(found).values()} == {torch.float32}


@pytest.mark.real
def test_the_default_model_is_the_one_that_transformers_loads() -> None:
    cache = Path(os.environ.get("SEMANTIC_GRPO_CACHE", ""))
    if not (cache / "models" / "gemma-3-270m-trimmed").is_dir():
        pytest.skip("no default model in the cache")
    folder = gemma_folder(cache)
    assert_same(read(folder), by_transformers(folder))


def test_random_numbers_of_the_process_stay(tiny_folder: Path) -> None:
    state = torch.random.get_rng_state()
    read(tiny_folder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_rows_of_a_tensor_alone(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process reads that holds a share of it."""
    monkeypatch.setattr(loading, "STAGING", 1000)
    stored = stored_tensors(tiny_folder)
    assert stored is not None
    whole = load_file(tiny_folder / "model.safetensors")[WEIGHT]
    for dtype in (torch.float32, torch.bfloat16):
        share = torch.empty(21, whole.shape[1], dtype=dtype)
        read_tensor(stored[WEIGHT], share, rows=slice(43, 64))
        assert torch.equal(share, whole[43:64].to(dtype))
    empty = torch.empty(0, whole.shape[1])
    read_tensor(stored[WEIGHT], empty, rows=slice(64, 64))
    with pytest.raises(ValueError, match="21 rows of 32 numbers for a tensor of 640"):
        read_tensor(stored[WEIGHT], torch.empty(20, whole.shape[1]), rows=slice(43, 64))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    tiny_llama().save_pretrained(tmp_path, max_shard_size="60KB")
    return tmp_path


def refusal_of(folder: Path) -> str:
    assert read_model(str(folder), folder, CPU, nothing) is None
    with pytest.raises(InputError) as caught:
        load_policy(folder, CPU)
    return str(caught.value)


def test_an_index_that_names_a_missing_file(parts: Path) -> None:
    lost = sorted(parts.glob("*.safetensors"))[1]
    lost.unlink()
    said = refusal_of(parts)
    assert said.startswith(f"{parts}: transformers cannot load this as a causal LM") and lost.name in said


def test_a_file_that_ends_early(parts: Path) -> None:
    path = sorted(parts.glob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-4])
    assert refusal_of(parts).startswith(f"{path}: not a readable safetensors file")


def test_a_file_that_is_cut_while_it_is_read(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sorted(parts.glob("*.safetensors"))[1]
    make_room = loading.make_room

    def cut(model: PreTrainedModel, device: torch.device) -> None:
        make_room(model, device)
        path.write_bytes(path.read_bytes()[:-4])

    monkeypatch.setattr(loading, "make_room", cut)
    with pytest.raises(InputError, match=rf"transformers cannot load this .*{path.name} ends 4 bytes early"):
        load_policy(parts, CPU)


@pytest.mark.parametrize("change", ["lost", "shape", "nan", "dtype"])
def test_weights_that_do_not_fit_keep_their_sentence(change: str, parts: Path) -> None:
    index = json.loads((parts / "model.safetensors.index.json").read_text())["weight_map"]
    path = parts / index[WEIGHT]
    tensors = load_file(path)
    value = tensors.pop(WEIGHT)
    if change == "nan":
        value[3, 4] = torch.nan
    altered = {
        "lost": {},
        "shape": {WEIGHT: value[:5].clone()},
        "nan": {WEIGHT: value},
        "dtype": {WEIGHT: value.int()},
    }
    save_file(tensors | altered[change], path, metadata={"format": "pt"})
    if change == "dtype":  # transformers turns any numbers into fp32
        assert read_model(str(parts), parts, CPU, nothing) is None
        assert torch.equal(load_policy(parts, CPU).get_parameter(WEIGHT), value.int().float())
        return
    said = {"lost": "the weights lack", "shape": "transformers cannot load this", "nan": "not finite in"}[
        change
    ]
    with pytest.raises(InputError, match=said):
        load_policy(parts, CPU)


@pytest.mark.parametrize("equal", [True, False])
def test_a_tied_head_that_is_stored_too_is_left_to_transformers(
    equal: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    """Where the two differ, it does not tie them."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"] = head if equal else head + 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert read_model(str(folder), folder, CPU, nothing) is None
    assert_same(load_model(folder, CPU, nothing), by_transformers(folder))


def test_a_folder_without_settings_of_generation_is_left_to_transformers(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "generation_config.json").unlink()
    assert read_model(str(folder), folder, CPU, nothing) is None
    assert_same(load_model(folder, CPU, nothing), by_transformers(folder))


def test_a_hub_model_is_read_where_its_files_are(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelSource, "files", lambda self: tiny_folder)
    model = load_policy(ModelSource(hub="nobody/tiny"), CPU)
    assert model.name_or_path == model.config.name_or_path == "nobody/tiny"
    expected = by_transformers(tiny_folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 200 MB in 3 files of fp32, and the same in bf16."""
    folder = tmp_path_factory.mktemp("large")
    config = LlamaConfig(
        vocab_size=20_000, hidden_size=768, intermediate_size=2048, num_hidden_layers=5, num_attention_heads=12,
        tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "fp32", max_shard_size="80MB")
    model.bfloat16().save_pretrained(folder / "bf16", max_shard_size="40MB")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "form",
    ["fp32", pytest.param("split", marks=pytest.mark.slow), pytest.param("frozen", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_memory_at_its_peak_is_that_of_the_model(dtype: str, form: str, large: Path) -> None:
    """Peak of a process of its own above what it held after its imports, against the bytes that it then holds."""
    folder = large / dtype
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert len([*folder.glob("*.safetensors")]) == 3 and files > 180e6 / (2 if dtype == "bf16" else 1)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    child = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "loading_child.py"), str(folder), form],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    peak, model = map(int, child.stdout.split())
    assert model == pytest.approx(
        {"fp32": 1, "bf16": 2}[dtype] * files * (1 if form != "frozen" else 0.66), rel=0.02
    )
    assert peak <= 1.15 * model
