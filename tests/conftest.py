"""Shared by all tests: the tiny model, a byte-level tokenizer and a folder with both. No network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a test kills the other end of a store

import shutil
from pathlib import Path

import pytest
from tiny import byte_tokenizer, tiny_gemma
from tiny_run import Command, Write, arguments, quick, write_corpus
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


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test that changes it."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's corpus of made-up pairs."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "pairs.tsv")


@pytest.fixture
def command(corpus: Path, tiny_folder: Path, tmp_path: Path) -> Command:
    """The arguments of a quick run of data, sft and train in tmp_path/NAME/run."""
    settings = quick(tiny_folder)
    return lambda name, *more: arguments(corpus, tiny_folder, tmp_path / name / "run", *settings, *more)


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a file, a configuration where no name is given."""

    def write(text: str, name: str = "c.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that the tests of this session share, and no other."""
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test alone."""
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def given_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of matrix products, which a bill would measure."""
    monkeypatch.setattr("grpo.stages.machine.matmul_rate", lambda compute: 1e11)
