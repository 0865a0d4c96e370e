"""Shared by all tests: the tiny model, a byte-level tokenizer and a folder with both. No network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import pytest
from tiny import byte_tokenizer, tiny_gemma
from transformers import PreTrainedModel, PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture
def tiny_model() -> PreTrainedModel:
    return tiny_gemma()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A transformers folder with the tiny model and its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_gemma().save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder
