"""Loads a model and prints how much more memory it held at its peak than before: `python loading_child.py FOLDER FORM`."""

import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.models.llama import (
    modeling_llama as modeling_llama,
)  # else it is imported while a model is loaded

from grpo.engine.halves import low_halves
from grpo.engine.loading import load_model
from grpo.engine.products import FORMATS, use_format
from grpo.engine.weight_forms import freeze, split_weights


def to_frozen(model: PreTrainedModel) -> None:
    use_format(model, FORMATS["bf16"])
    freeze(model)


FORMS = {"fp32": lambda model: None, "split": split_weights, "frozen": to_frozen}


def bytes_of(name: str) -> int:
    """A line of this process's own account: VmRSS is what it holds, VmHWM the most that it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def watch(folder: str, form: str) -> str:
    """Peak above the start, and the bytes of the model."""
    start = bytes_of("VmRSS")
    model = load_model(folder, torch.device("cpu"), FORMS[form])
    peak = bytes_of("VmHWM") - start
    return f"{peak} {sum(tensor.nbytes for tensor in (*model.parameters(), *low_halves(model).values()))}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(watch(sys.argv[1], sys.argv[2]))
