"""Sentence encoders in the layouts in which they are published, tiny and random: vectors as their own steps give them."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_encoders import LETTERS, TEXTS, body_folder, pooled_folder, write_json
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, M2M100Config, NllbTokenizer
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

from data.errors import InputError
from reward.encoder import load_encoder

CPU = torch.device("cpu")


def hidden_states(folder: Path, text: str, prompt: str = "") -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(
        prompt + text, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        hidden: torch.Tensor = AutoModel.from_pretrained(folder).eval()(ids["input_ids"]).last_hidden_state[0]
    return hidden


def test_labse(tmp_path: Path) -> None:
    """The first token through a dense layer with tanh, then to unit length (Feng et al., ACL 2022)."""
    folder = pooled_folder(
        tmp_path / "labse", "bert", {"pooling_mode_cls_token": True}, ("Dense", "Normalize")
    )
    dense = load_file(folder / "2_Dense" / "model.safetensors")
    for text, row in zip(TEXTS, load_encoder(str(folder), tmp_path, CPU).encode(TEXTS), strict=True):
        expected = torch.tanh(dense["linear.weight"] @ hidden_states(folder, text)[0] + dense["linear.bias"])
        torch.testing.assert_close(row, expected / expected.norm(), atol=2e-6, rtol=0)


def test_bge_m3_dense(tmp_path: Path) -> None:
    """The first token to unit length (Chen et al., 2024)."""
    folder = pooled_folder(tmp_path / "bge", "xlmr", {"pooling_mode_cls_token": True}, ("Normalize",))
    for text, row in zip(TEXTS, load_encoder(str(folder), tmp_path, CPU).encode(TEXTS), strict=True):
        torch.testing.assert_close(row, F.normalize(hidden_states(folder, text)[0], dim=0), atol=2e-6, rtol=0)


def test_multilingual_e5_with_its_prefix(tmp_path: Path) -> None:
    """The mean of the tokens, "query: " before the text (Wang et al., 2024): the folder names the prefix as a prompt."""
    folder = pooled_folder(tmp_path / "e5", "xlmr", {"pooling_mode_mean_tokens": True}, ("Normalize",))
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    write_json(folder / "config_sentence_transformers.json", prompts)
    for text, row in zip(TEXTS, load_encoder(str(folder), tmp_path, CPU).encode(TEXTS), strict=True):
        expected = hidden_states(folder, text, "query: ").mean(dim=0)
        torch.testing.assert_close(row, expected / expected.norm(), atol=2e-6, rtol=0)


def test_cino_style_encoder_without_modules(tmp_path: Path) -> None:
    """A plain XLM-R folder, pooled as encoder.json says."""
    folder = body_folder(tmp_path / "cino", "xlmr")
    write_json(folder / "encoder.json", {"pooling": "mean", "max_length": 32})
    for text, row in zip(TEXTS, load_encoder(str(folder), tmp_path, CPU).encode(TEXTS), strict=True):
        expected = hidden_states(folder, text).mean(dim=0)
        torch.testing.assert_close(row, expected / expected.norm(), atol=2e-6, rtol=0)


def sonar_folder(folder: Path) -> Path:
    """SONAR's text encoder as it is published for transformers: the encoder alone, and an NLLB tokenizer."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, "eng_Latn", "bod_Tibt", "<mask>"]
    vocabulary = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    folder.mkdir()
    vocabulary.save(str(folder / "tokenizer.json"))
    made = NllbTokenizer(
        tokenizer_object=vocabulary, src_lang="eng_Latn", additional_special_tokens=["eng_Latn", "bod_Tibt"]
    )
    made.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(tokens) + 8, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, init_std=0.4,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        M2M100Encoder(config).save_pretrained(folder)
    return folder


def test_sonar_begins_with_the_token_of_its_language(tmp_path: Path) -> None:
    """The mean over all tokens, those of language and end counted (Duquenne et al., 2023)."""
    folder = sonar_folder(tmp_path / "sonar")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["M2M100Encoder"]
    model = M2M100Encoder.from_pretrained(folder).eval()
    rows = {}
    for language in ("eng_Latn", "bod_Tibt"):
        write_json(folder / "encoder.json", {"pooling": "mean", "max_length": 32, "language": language})
        rows[language] = load_encoder(str(folder), tmp_path, CPU).encode(TEXTS)
        tokenizer = AutoTokenizer.from_pretrained(folder, src_lang=language)
        for text, row in zip(TEXTS, rows[language], strict=True):
            ids = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
            assert ids[0, 0] == tokenizer.get_vocab()[language]
            with torch.no_grad():
                expected = model(ids).last_hidden_state[0].mean(dim=0)
            torch.testing.assert_close(row, expected / expected.norm(), atol=2e-6, rtol=0)
    assert (rows["eng_Latn"] - rows["bod_Tibt"]).abs().max() > 0.01


def test_a_language_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    folder = sonar_folder(tmp_path / "sonar")
    write_json(folder / "encoder.json", {"language": "xxx_Latn"})
    with pytest.raises(InputError, match="language = 'xxx_Latn': the tokenizer has no such token"):
        load_encoder(str(folder), tmp_path, CPU)
    folder = body_folder(tmp_path / "plain", "xlmr")
    write_json(folder / "encoder.json", {"language": "eng_Latn"})
    with pytest.raises(InputError, match="this tokenizer takes no language"):
        load_encoder(str(folder), tmp_path, CPU)
