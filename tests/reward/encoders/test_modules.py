"""A sentence-transformers folder: the library's own vectors, and one sentence for everything that is not known here."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT
from safetensors.torch import load_file, save_file
from tiny_encoders import (
    HIDDEN,
    TEXTS,
    check_bits_in_every_batch,
    pooled_folder,
    static_folder,
    write_dense,
    write_json,
    write_modules,
)

from data.errors import InputError
from reward.encoders.modules import (
    FLAGS,
    ModulesEncoder,
    load_modules,
    read_dense,
    read_normalize,
    read_pooling,
    read_prompt,
    read_transformer,
)
from reward.encoders.pooled import PooledEncoder, load_pooled
from reward.encoders.static import load_static

PEER = ROOT / ".venv-peers" / "bin" / "python"
CPU = torch.device("cpu")
ALL = dict.fromkeys(FLAGS, True)


def with_prompt(folder: Path, **pooling: Any) -> Path:
    """A prompt by name, its tokens left out of the pooling where the pooling says so."""
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"q": "abc ", "p": "no"}, "default_prompt_name": "q"},
    )
    path = folder / "1_Pooling" / "config.json"
    if pooling:
        write_json(path, {**json.loads(path.read_text()), **pooling})
    return folder


def lower_case(folder: Path) -> Path:
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    return folder


def with_dense(folder: Path, gives: int, **settings: Any) -> Path:
    write_dense(folder / "2_Dense", HIDDEN, gives, **settings)
    return folder


def static_modules(folder: Path, name: str = "embedding.weight", **more: torch.Tensor) -> Path:
    static_folder(folder, name, **more)
    dense, _ = write_modules(folder, "StaticEmbedding", "Dense", "Normalize")
    write_dense(dense, HIDDEN, 4)
    return with_prompt(folder)


def model2vec(folder: Path) -> Path:
    rows = load_file(static_folder(folder) / "model.safetensors")["embedding.weight"].shape[0]
    mapping = torch.arange(rows).flip(0)
    return static_modules(folder, "embeddings", mapping=mapping, weights=torch.linspace(0.5, 2, rows))


FOLDERS: dict[str, Callable[[Path], Path]] = {
    **{
        f"bert-{name}": lambda at, flag=flag: pooled_folder(at, "bert", {flag: True})
        for flag, name in FLAGS.items()
    },
    **{
        f"{family}-all": lambda at, family=family: pooled_folder(at, family, ALL, ("Dense", "Normalize"))
        for family in ("bert", "xlmr", "llama")
    },
    **{
        f"{family}-left": lambda at, family=family: pooled_folder(at, family, ALL, padding_side="left")
        for family in ("xlmr", "llama")
    },
    "normalised-before-dense": lambda at: pooled_folder(at, "bert", heads=("Normalize", "Dense", "Dense")),
    "prompt": lambda at: with_prompt(pooled_folder(at, "bert", ALL)),
    "prompt-not-pooled": lambda at: with_prompt(pooled_folder(at, "xlmr", ALL), include_prompt=False),
    "prompt-not-pooled-left": lambda at: with_prompt(
        pooled_folder(at, "llama", ALL, padding_side="left"), include_prompt=False
    ),
    "lower-case": lambda at: lower_case(pooled_folder(at, "bert")),
    "dense-residual": lambda at: with_dense(
        pooled_folder(at, "bert", heads=("Dense",)), HIDDEN, use_residual=True
    ),
    "dense-projected": lambda at: with_dense(
        pooled_folder(at, "bert", heads=("Dense",)), 4, use_residual=True, activation="torch.nn.GELU"
    ),
    "static": static_modules,
    "model2vec": model2vec,
    # not bert-left: with padding on the left the library itself shifts BERT's positions by what else is in the
    # batch
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("folders")
    return {name: make(base / name) for name, make in FOLDERS.items()}


@pytest.fixture(scope="module")
def peer(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library's own vectors of every folder, and every folder as it saves it today."""
    if not PEER.exists():
        pytest.skip("sentence-transformers is not installed beside the project; type: make bench-peers")
    out = tmp_path_factory.mktemp("peer")
    write_json(
        out / "request.json", {"texts": TEXTS, "folders": {name: str(path) for name, path in folders.items()}}
    )
    command = [str(PEER), str(ROOT / "benchmarks" / "peer_encoders.py"), str(out / "request.json"), str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.mark.real
@pytest.mark.parametrize("name", FOLDERS)
def test_equals_sentence_transformers(name: str, folders: dict[str, Path], peer: Path) -> None:
    expected = load_file(peer / "vectors.safetensors")[name]
    assert (expected @ expected.T).min() < 0.995  # vectors that differ, so that equality says something
    torch.testing.assert_close(load_modules(folders[name], CPU).encode(TEXTS), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(load_modules(peer / name, CPU).encode(TEXTS), expected, atol=1e-5, rtol=0)


def test_vector_is_bit_equal_in_every_batch(folders: dict[str, Path]) -> None:
    texts = [*TEXTS, *(text * 2 for text in TEXTS)] * 4
    for name in ("llama-all", "dense-projected", "static"):
        encoder = load_modules(folders[name], CPU)
        check_bits_in_every_batch(encoder.encode, texts)
        assert encoder.encode([]).shape == (0, encoder.dim)


def test_rows_are_unit_whether_or_not_the_folder_normalises(folders: dict[str, Path]) -> None:
    for name, path in folders.items():
        encoder = load_modules(path, CPU)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows = encoder.encode(TEXTS)
        assert rows.shape == (len(TEXTS), encoder.dim) and rows.dtype == torch.float32, name
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(TEXTS)), atol=1e-5, rtol=0)


def test_plain_folders_agree_with_the_modules_around_them(folders: dict[str, Path]) -> None:
    write_json(folders["bert-mean"] / "encoder.json", {"max_length": 32})
    assert torch.equal(
        load_modules(folders["bert-mean"], CPU).encode(TEXTS),
        load_pooled(folders["bert-mean"], CPU).encode(TEXTS),
    )
    whole = load_modules(folders["static"], CPU)
    assert isinstance(whole.body, type(load_static(folders["static"]))) and whole.prompt == "abc "


def test_fingerprint_names_prompt_and_every_module(tmp_path: Path) -> None:
    def fingerprint(**dense: Any) -> str:
        write_dense(folder / "1_Dense", HIDDEN, 4, **dense)
        return load_modules(folder, CPU).fingerprint

    folder = static_modules(tmp_path / "static")
    prints = [fingerprint(), fingerprint(activation="torch.nn.ReLU")]
    write_json(folder / "config_sentence_transformers.json", {})
    prints.append(fingerprint())
    write_modules(folder, "StaticEmbedding", "Dense")
    prints.append(fingerprint())
    assert len(set(prints)) == 4 and fingerprint() == prints[3]


def test_dense_equals_the_hand_computed_numbers(tmp_path: Path) -> None:
    write_dense(tmp_path, 2, 3, "torch.nn.modules.activation.ReLU", use_residual=True)
    weight = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]])
    tensors = {
        "linear.weight": weight,
        "linear.bias": torch.tensor([0.5, 0.0, -9.0]),
        "residual.weight": 10 * weight,
    }
    save_file(tensors, tmp_path / "model.safetensors")
    dense, gives = read_dense(tmp_path, 2)
    assert gives == 3 and dense(torch.tensor([[2.0, 1.0]])).tolist() == [[44.5, -10.0, 60.0]]


def test_old_and_new_pooling_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(
        path,
        {
            "word_embedding_dimension": 8,
            "pooling_mode_lasttoken": True,
            "pooling_mode_cls_token": True,
            "pooling_mode_max_tokens": False,
        },
    )
    assert read_pooling(path) == (("cls", "lasttoken"), True, 8)
    write_json(
        path, {"embedding_dimension": 8, "pooling_mode": ["lasttoken", "cls"], "include_prompt": False}
    )
    assert read_pooling(path) == (("lasttoken", "cls"), False, 8)
    write_json(path, {"embedding_dimension": 8})
    assert read_pooling(path) == (("mean",), True, 8)


MODULES = [
    ([], r"modules none: must be Transformer, Pooling or StaticEmbedding"),
    (
        ["Pooling"],
        r"modules Pooling: must be Transformer, Pooling or StaticEmbedding, and then only Dense or Normalize",
    ),
    (["Transformer", "Dense"], r"modules Transformer, Dense: must be"),
    (["StaticEmbedding", "Pooling"], r"modules StaticEmbedding, Pooling: must be"),
    (
        ["Transformer", "WeightedLayerPooling"],
        r"modules\.json: unknown module type 'sentence_transformers\.models\.WeightedLayerPooling'; known types: Tr",
    ),
]


@pytest.mark.parametrize(("kinds", "message"), MODULES)
def test_unknown_modules_are_refused(tmp_path: Path, kinds: list[str], message: str) -> None:
    write_modules(tmp_path, *kinds) if kinds else write_json(tmp_path / "modules.json", [])
    with pytest.raises(InputError, match=message):
        load_modules(tmp_path, CPU)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"modules\.json: must hold a list of modules with 'type' and 'path'"),
        ([{"type": "x"}], r"modules\.json: must hold a list of modules"),
        ([{"type": "own.Dense", "path": ""}], r"unknown module type 'own\.Dense'"),
        (
            [{"type": "sentence_transformers.models.Dense", "path": "../x"}],
            r"path '\.\./x' leads out of the folder",
        ),
    ],
)
def test_bad_module_lists_are_refused(tmp_path: Path, content: object, message: str) -> None:
    write_json(tmp_path / "modules.json", content)
    with pytest.raises(InputError, match=message):
        load_modules(tmp_path, CPU)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, r"unknown pooling 'median'; known poolings: cls"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": 1}, r"pooling_mode_mean_tokens = 1: must be bool"),
        ("1_Pooling/config.json", {"word_embedding_dimension": 99}, r"a token vector of 99 numbers, but the transformer gives 16"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, r'max_seq_length = "long": must be int \| null'),
        ("sentence_bert_config.json", {"query_length": 3}, r"sentence_bert_config\.json: unknown key 'query_length'"),
        (
            "sentence_bert_config.json",
            {"transformer_task": "fill-mask"},
            r"transformer_task = 'fill-mask': only 'feature-extraction' is known",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q"},
            r"default_prompt_name 'q' is none of its prompts: none",
        ),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, r"a SparseEncoder folder gives no sentence vectors"),
        ("2_Dense/config.json", {"in_features": 384}, r"in_features = 384, but the module before it gives 16 numbers"),
        ("2_Dense/config.json", {"out_features": 5}, r"needs 'linear\.weight' of shape \(5, 16\), has shape \(8, 16\)"),
        (
            "2_Dense/config.json",
            {"activation_function": "own.Tanh"},
            r"unknown activation_function 'own\.Tanh'; known: Identity, Tanh",
        ),
        (
            "2_Dense/config.json",
            {"module_input_name": "token_embeddings"},
            r"module_input_name = 'token_embeddings': only 'sentence_embedding'",
        ),
        ("2_Dense/config.json", {"use_residual": True}, r"needs 'residual\.weight' of shape \(8, 16\), has nothing"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(tmp_path: Path, file: str, change: dict[str, Any], message: str) -> None:
    folder = pooled_folder(tmp_path / "st", heads=("Dense",))
    before = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    write_json(folder / file, {**before, **change})
    with pytest.raises(InputError, match=message):
        load_modules(folder, CPU)


def test_absent_keys_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"pooling_mode": "mean"})
    with pytest.raises(InputError, match=r"config\.json: needs the key 'embedding_dimension'"):
        read_pooling(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {"in_features": 3})
    with pytest.raises(InputError, match=r"config\.json: needs the key 'out_features'"):
        read_dense(tmp_path, 3)


def test_prompts_that_are_no_object_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "prompts.json", ["q"])
    with pytest.raises(InputError, match=r"prompts\.json: must hold a JSON object \{\.\.\.\}, not list"):
        read_prompt(tmp_path / "prompts.json")


def test_normalising_anything_but_the_sentence_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"module_input_name": "token_embeddings"})
    with pytest.raises(InputError, match="only 'sentence_embedding' is known here"):
        read_normalize(tmp_path)


def test_pickled_dense_is_refused(tmp_path: Path) -> None:
    write_dense(tmp_path, 3, 2)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"weights are only a pickle"):
        read_dense(tmp_path, 3)


def test_settings_of_old_names_are_found(tmp_path: Path) -> None:
    assert read_transformer(tmp_path) == (None, False)
    write_json(tmp_path / "sentence_xlm-roberta_config.json", {"max_seq_length": 7})
    assert read_transformer(tmp_path) == (7, False)


def test_length_of_the_folder_is_kept(folders: dict[str, Path]) -> None:
    encoder: ModulesEncoder = load_modules(folders["bert-mean"], CPU)
    assert isinstance(encoder.body, PooledEncoder) and encoder.body.max_length == 32
