"""Source-shielded updates (arXiv 2512.04844): the columns of each matrix that general text needs most stay as they
were at the start of the stage.

A column is all weights of one input feature. The matrices are the linear layers inside of the model's layers; as in
the paper, embedding and head are free. (Its authors' script also freezes the embeddings of chat-template tokens; here
they are free.) The paper masks gradients, and weight decay would still move its columns;
here their values are put back behind every step, whatever the optimiser did. So the norm of a gradient, which
`max_grad_norm` cuts, counts all columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from grpo.engine.forward import packed_hidden
from grpo.engine.halves import ExactParameters
from grpo.engine.packing import Packed
from grpo.engine.private_apis import layers_of


@dataclass(frozen=True)
class Shield:
    """By the name of a parameter (O, I): the indices of its `columns` (C,), and the `values` (O, C) that they keep."""

    columns: Mapping[str, Tensor]
    values: Mapping[str, Tensor]

    def __call__(self, name: str, exact: Tensor, rate: float) -> None:
        """Put the columns of the parameter `name` back, in place."""
        if name in self.columns:
            exact.index_copy_(1, self.columns[name], self.values[name])


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """The linear layers inside of the layers of `model`, by the name of their weight."""
    inside = {id(module) for layer in layers_of(model) for module in layer.modules()}
    modules = model.named_modules()
    return {
        f"{name}.weight": one for name, one in modules if id(one) in inside and isinstance(one, nn.Linear)
    }


@torch.no_grad()
def input_squares(model: PreTrainedModel, passes: Iterable[Packed]) -> dict[str, Tensor]:
    """(I,) fp64 for each weight of `linear_layers`: the sum of each input feature's squares over all tokens."""
    layers = linear_layers(model)
    sums = {
        name: torch.zeros(layer.in_features, dtype=torch.float64, device=model.device)
        for name, layer in layers.items()
    }

    def add(total: Tensor, inputs: tuple[Tensor, ...]) -> None:
        total += inputs[0].double().square().flatten(0, -2).sum(0)

    hooks = [
        layer.register_forward_pre_hook(lambda _layer, inputs, total=sums[name]: add(total, inputs))
        for name, layer in layers.items()
    ]
    for packed in passes:
        packed_hidden(model, packed)
    for hook in hooks:
        hook.remove()
    return sums


def important_columns(weight: Tensor, squares: Tensor) -> Tensor:
    """The more important half of the columns of a weight (O, I), in order; of an odd number the smaller half.

    Importance is the sum over rows i of |w_ij| x the norm of input j: Wanda's score (arXiv 2306.11695, eq. 1), added
    up by column (arXiv 2512.04844). squares (I,) are those norms, squared.
    """
    scores = weight.abs().sum(dim=0, dtype=torch.float64) * squares.sqrt()
    order = scores.argsort(descending=True, stable=True)
    return order[: len(order) // 2].sort().values


def make_shield(model: PreTrainedModel, squares: Mapping[str, Tensor]) -> Shield:
    """The shield of a model as it is now; `squares` of `input_squares`."""
    exact = ExactParameters(model)
    columns = {name: important_columns(exact[name], squares[name]) for name in squares}
    return Shield(columns, {name: exact[name][:, chosen] for name, chosen in columns.items()})
