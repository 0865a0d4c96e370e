"""Which model a user means: the folder of a run, or that of a model."""

from pathlib import Path

from transformers import AutoModelForCausalLM

from data.documents import read_object
from data.errors import InputError
from data.model_folder import check_model_folder

POLICY = "policy"


def model_folder(path: Path) -> Path:
    """The folder with the model: `path` itself, or the policy of the run folder `path`. Raises InputError where neither
    is a model with safetensors weights.
    """
    folder = path / POLICY if (path / POLICY / "config.json").is_file() else path
    config = folder / "config.json"
    if not config.is_file():
        raise InputError(
            f"{path}: no model there; give the folder of a finished run, or one with config.json and *.safetensors"
        )
    if "model_type" not in read_object(config):
        raise InputError(f"{path}: this run has no {POLICY} yet; finish it, or give {path}/warm_start")
    check_model_folder(folder, AutoModelForCausalLM)
    return folder
