"""A model in every number format passes the check before training, and fp16 refuses activations beyond its
range.
"""

from collections.abc import Callable

import pytest
import torch
from tiny import tiny_gemma, tiny_llama

from data.errors import InputError
from grpo.engine.attention import use_blocks
from grpo.engine.products import FORMATS, use_format
from grpo.engine.self_check import TOLERANCES, check_packing


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("name", [*FORMATS])
def test_packed_rows_and_sampler_agree_with_the_plain_model(make: Callable, name: str) -> None:
    model = make()
    use_format(model, FORMATS[name])
    use_blocks(model)
    gap = check_packing(model)
    assert gap < TOLERANCES[name] / 10
    assert (gap > 1e-4) == (name in ("fp16", "bf16"))


@pytest.mark.parametrize(("name", "refused"), [("fp16", True), ("bf16", False), ("bf16x2", False)])
def test_activations_beyond_fp16_are_refused_with_what_to_write(name: str, refused: bool) -> None:
    """As of models with massive activations: one layer hands 1e5 to its down projection."""
    model = tiny_llama()
    with torch.no_grad():
        mlp = model.model.layers[0].mlp
        mlp.gate_proj.weight *= 1e3
        mlp.up_proj.weight *= 1e3
        mlp.down_proj.weight /= 1e6
    use_format(model, FORMATS[name])
    use_blocks(model)
    if refused:
        with pytest.raises(InputError, match=r"activations reach .* write engine\.number_format=bf16x2"):
            check_packing(model)
    else:
        check_packing(model)
