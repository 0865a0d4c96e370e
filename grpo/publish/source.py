"""Which model a user means: the folder of a run, or that of a model."""

from pathlib import Path

from transformers import AutoModelForCausalLM

from data.model_folder import check_model_folder
from grpo.runtime.run_folder import policy_in


def model_folder(path: Path) -> Path:
    """The folder with the model: `path` itself, or the policy of the run folder `path`. Raises InputError where neither
    is a model with safetensors weights.
    """
    folder = policy_in(path)
    check_model_folder(folder, AutoModelForCausalLM)
    return folder
