"""The likely mistakes of a first hour, each by the real command on the tiny model: one line that says what to do."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from unittest import mock

import pytest
import torch
from command_line import outcome
from tiny_run import CONFIG, HAN, SYLLABLES, write_corpus
from transformers import BertConfig

import grpo
from grpo.run import main
from grpo.runtime import device
from grpo.runtime.run_folder import sole_process

TSV = "".join(f"{'་'.join(SYLLABLES[n : n + 4])}\t{HAN[n : n + 4]}\n" for n in range(8))
LATIN = "".join(
    f"{one}{two} {two * 2}{one} {one * 3}\t{one}{two} {two * 2}{one} {one * 3}\n"
    for one, two in permutations(["ta", "mi", "ro", "ku", "se", "nu", "po"], 2)
)
DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
CARD = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"
HOST = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes. Error code 12"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
PICKLED = {"model.safetensors": None, "pytorch_model.bin": b"x"}
BERT = {"config.json": BertConfig(architectures=["BertForMaskedLM"]).to_json_string().encode()}
GGUF = {"model.safetensors": None, "config.json": None, "model.gguf": b"GGUF"}
POINTER = {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"}
HALF = {"model.safetensors": b"\x10"}
NO_TOKENIZER = {"tokenizer.json": None, "tokenizer_config.json": None}


@dataclass(frozen=True)
class Mistake:
    """What the user does, and what the one line has. `config` changes a text of the configuration, `corpus` is
    another file, `model` has files that the folder lacks (None) or has another content of.
    """

    said: str
    more: tuple[str, ...] = ()
    config: tuple[str, str] = ("", "")
    corpus: bytes | str = ""
    model: dict[str, bytes | None] | None = None
    stages: str = "data"


MISTAKES = {
    "no configuration": Mistake("the following arguments are required: --config; python -m grpo.run --help"),
    "key": Mistake("did you mean 'sft.num_steps'?", config=("num_steps = 3", "num_step = 3")),
    "section": Mistake("did you mean 'rollout'?", config=("[rollout]", "[rolout]")),
    "other section": Mistake("did you mean 'train.optim.lr'?", ("train.lr=1e-5",)),
    "no TOML": Mistake(
        "(at line 15, column 9); write a section as [train]", config=("[rollout]", "[rollout")
    ),
    "true": Mistake("eval.probes = 'yes' is of type str; write true or false", ("eval.probes=yes",)),
    "dashes": Mistake("a setting has no dashes: train.num_steps=3", ("--train.num_steps=3",)),
    "option": Mistake("unrecognized arguments: --chek; did you mean '--check'?", ("--chek",)),
    "stage": Mistake("did you mean 'train'?", stages="data,trian"),
    "order of stages": Mistake("run the stages data,model,sft first", stages="train,data"),
    "column": Mistake(
        "no columns 'bo' and 'zh'; data.source_column and data.reference_column take numbers from 1",
        ("data.source_column=bo", "data.reference_column=zh"),
    ),
    "language in words": Mistake('a code is needed; write "bo"', ("data.source_language=Tibetan",)),
    "country": Mistake('a code is needed; write "zh"', ("data.target_language=cn",)),
    "empty corpus": Mistake("there is no pair in it; write a line for each pair", corpus="\n"),
    "small corpus": Mistake("nothing is left for", corpus=TSV.splitlines()[0]),
    "same text": Mistake(
        "reference texts equal their source",
        ("data.source_language=es", "data.target_language=en"),
        corpus=LATIN,
        stages="data,sft",
    ),
    "sides exchanged": Mistake(
        "exchange data.source_language and data.target_language",
        corpus="".join("\t".join(line.split("\t")[::-1]) + "\n" for line in TSV.splitlines()),
    ),
    "UTF-16": Mistake("is UTF-16; save it as UTF-8: iconv -f UTF-16", corpus=TSV.encode("utf-16")),
    "no tokenizer": Mistake("copy tokenizer.json", model=NO_TOKENIZER, stages="data,sft"),
    "pickle": Mistake("save them as safetensors", model=PICKLED, stages="data,sft"),
    "GGUF": Mistake("a GGUF file can be run and not trained; write", model=GGUF, stages="data,sft"),
    "encoder": Mistake("BertForMaskedLM has an encoder and predicts no next", model=BERT, stages="data,sft"),
    "half of a model": Mistake("copy or download it again", model=HALF, stages="data,sft"),
    "Git LFS": Mistake("run git lfs pull", model=POINTER, stages="data,sft"),
    "name on a hub": Mistake('of a model hub it is "hub:a/b"', ("model.policy=a/b",), stages="data,sft"),
    "encoder folder": Mistake(
        "there is no folder BAAI/bge-m3; download the model into one", ("reward.encoder=BAAI/bge-m3",)
    ),
    "no card": Mistake(
        "device='cuda': torch sees no such device here (look whether nvidia-smi", ("device=cuda",)
    ),
}


@pytest.fixture
def start(tmp_path: Path, tiny_folder: Path, own_cache: None) -> Callable[..., tuple[int, str]]:
    """Starts the command of a mistake: exit code and standard error."""

    def run(mistake: Mistake) -> tuple[int, str]:
        corpus = write_corpus(tmp_path / "pairs.tsv")
        if mistake.corpus:
            text = mistake.corpus
            corpus.write_bytes(text.encode() if isinstance(text, str) else text)
        model = tiny_folder
        if mistake.model is not None:
            model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
            for name, content in mistake.model.items():
                (model / name).unlink(missing_ok=True)
                if content is not None:
                    (model / name).write_bytes(content)
        text = CONFIG.format(run=tmp_path / "run", corpus=corpus, model=model).replace(*mistake.config)
        (tmp_path / "own.toml").write_text(text, encoding="utf-8")
        named = [] if mistake is MISTAKES["no configuration"] else ["--config", str(tmp_path / "own.toml")]
        return outcome(main, [*named, "--stages", mistake.stages, *mistake.more])

    return run


def check_line(code: int, said: str, wanted: str) -> None:
    assert code == 2 and said.startswith("error: ") and said.count("\n") == 1 and wanted in said, said


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_says_what_to_do(name: str, start: Callable[..., tuple[int, str]]) -> None:
    check_line(*start(MISTAKES[name]), MISTAKES[name].said)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError(CARD), "execution on the device; this torch has no code for this card"),
        (RuntimeError(HOST), "40 bytes; the machine has no memory left: end other programs"),
        (MemoryError(), "the machine has no memory left: end other programs"),
        (torch.OutOfMemoryError(FULL), "sft: the card has no memory for passes of half the size either"),
        (OSError(28, "No space left on device", "runs/x"), "runs/x: No space left on device; put that right"),
    ],
)
def test_what_a_machine_lacks(error: Exception, wanted: str, start: Callable[..., tuple[int, str]]) -> None:
    """In the middle of a stage."""
    with mock.patch("grpo.stages.warm_start.train", side_effect=error):
        check_line(*start(Mistake("", stages="data,sft")), wanted)


def test_a_program_error_is_not_taken_for_the_machine(start: Callable[..., tuple[int, str]]) -> None:
    with (
        mock.patch("grpo.stages.warm_start.train", side_effect=RuntimeError("shapes differ")),
        pytest.raises(RuntimeError, match="shapes differ"),
    ):
        start(Mistake("", stages="data,sft"))


def test_a_driver_that_is_too_old_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: torch only warned, and a run on a machine with a card went to the CPU without a word."""

    def is_available() -> bool:
        device.warnings.warn(DRIVER, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(
        device.InputError, match=r"sees no such device here \(The NVIDIA driver .* 11040\)\); write"
    ):
        device.choose("cuda")
    assert device.choose("auto").device.type == "cpu"
    assert "WARNING device='auto': no card is used (The NVIDIA driver" in capsys.readouterr().out
    assert device.choose("cpu").device.type == "cpu" and not capsys.readouterr().out


def test_a_run_folder_at_work_is_named(start: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    with sole_process(tmp_path / "run", print):
        check_line(
            *start(Mistake("")), "works in this run folder now; wait for its end, or write run_dir=runs/"
        )


def test_the_run_folder_of_another_configuration(start: Callable[..., tuple[int, str]]) -> None:
    assert start(Mistake("", stages="data,sft"))[0] == 0
    said = "sft of this run was made with seed = 0, not 5; restore that value"
    check_line(*start(Mistake("", ("seed=5",), stages="data,sft,train")), said)


@pytest.mark.parametrize(
    "corpus", [b"\xef\xbb\xbf" + TSV.encode() * 4, TSV.replace("\n", "\r\n").encode() * 4]
)
def test_windows_files_are_no_mistake(corpus: bytes, start: Callable[..., tuple[int, str]]) -> None:
    more = ("data.test_size=2", "data.dev_size=1")
    assert start(Mistake("", more, corpus=corpus)) == (0, "")


def test_old_packages_are_named() -> None:
    assert grpo.old_packages(grpo.OLDEST) == []
    (old, missing) = grpo.old_packages({"torch": "99.1", "nopackage": "1.0"})
    assert (
        old.startswith("torch 99.1 or newer (found: ") and missing == "nopackage 1.0 or newer (found: none)"
    )


def test_the_oldest_packages_are_those_that_pip_installs() -> None:
    from repository import ROOT

    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert all(f"    {name}>={text}\n" in setup for name, text in grpo.OLDEST.items())
