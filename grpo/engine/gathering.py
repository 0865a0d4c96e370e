"""How a sharded model decodes: with whole weights, gathered once a rollout, where they fit; else layer by layer.

Whole weights have the format of the products, so they take half of what the parameters would; the embedding is
read as it is. Then a process decodes without the others. Layer by layer every token gathers every layer, and
all processes go on until none has a row left.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from grpo.engine.capture import Accelerator, say_once
from grpo.engine.decode_step import embedding_of, is_known
from grpo.engine.products import FP32, format_of
from grpo.engine.sharding import is_sharded, processes_of

USED_SHARE = 0.25  # of the free memory; the rest is for rows and for the passes of an update
FOR_PARAMETERS = 12  # bytes of a trained parameter that come later: its gradient and two moments
ATTRIBUTE = "decodes_whole"  # of a sharded model: whether its weights fit, decided once


def has_fast_step(model: PreTrainedModel) -> bool:
    """Is there a forward pass of our own for this model, and have its weights room? The same in all processes."""
    return is_known(model) and (not is_sharded(model) or decodes_whole(model))


def decodes_whole(model: PreTrainedModel) -> bool:
    """Do the whole weights of a sharded model fit, in the process with the least free memory?"""
    found: bool | None = vars(model).get(ATTRIBUTE)
    if found is None:
        world = processes_of(model)
        least = -world.largest({"free": -free_bytes(model)})["free"]
        gathered = sum(weight.numel() * dtype.itemsize for weight, dtype in decoder_weights(model))
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        found = fits(gathered, FOR_PARAMETERS * trained / world.size, least)
        setattr(model, ATTRIBUTE, found)
        if not found:
            say_once(
                "the whole weights of the model do not fit beside the rest, so it decodes layer by layer"
            )
    return found


def fits(gathered: float, later: float, free: float) -> bool:
    """Bytes of the whole weights, bytes that training takes later, bytes that are free.

    >>> fits(16e9, 12e9, 80e9), fits(18e9, 12e9, 80e9)
    (True, False)
    """
    return gathered <= USED_SHARE * (free - later)


def free_bytes(model: PreTrainedModel) -> float:
    """Free memory of the device of this process; on a CPU nothing is counted."""
    return math.inf if model.device.type == "cpu" else float(Accelerator(model.device).free_bytes())


def decoder_weights(model: PreTrainedModel) -> list[tuple[Tensor, torch.dtype]]:
    """The parameters that a decoder with whole weights gathers, and the type in which it does: matrices that of the
    products, all others their own. A tied head is gathered beside the embedding.
    """
    format = format_of(model)
    output: Any = model.get_output_embeddings()
    head: Tensor = output.weight
    embedding = embedding_of(model).weight
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    others: list[Tensor] = [parameter for parameter in model.parameters() if parameter is not embedding]
    if head is embedding:
        others.append(head)

    def type_of(weight: Tensor) -> torch.dtype:
        return format.forward if id(weight) in matrices and format != FP32 else weight.dtype

    return [(embedding, embedding.dtype), *((weight, type_of(weight)) for weight in others)]
