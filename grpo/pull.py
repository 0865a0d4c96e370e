"""The pull to the start: behind every step each parameter goes back a part of its way to where the stage began.

The penalty is strength / 2 x sum of F (w - start)^2 over all parameters. With F = 1 it is L2 to the start (L2-SP, arXiv
1802.01483, eq. 2); with F the diagonal of the Fisher information on general text it is elastic weight consolidation
(EWC, arXiv 1612.00796, eq. 3). A step first follows the loss and then the penalty, which has a closed form (proximal
gradient): stable for every strength, and plain gradient descent ends at the minimum of loss and penalty. With AdamW
it is a decoupled decay (arXiv 1711.05101): the moments see nothing of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.logprob import completion_logps
from grpo.engine.packing import Packed


@dataclass(frozen=True)
class Pull:
    """`start`, and `fisher` where a parameter has one, by its name, each of its shape; no fisher counts as 1."""

    start: Mapping[str, Tensor]
    strength: float
    fisher: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, exact: Tensor, rate: float) -> None:
        """w <- start + (w - start) / (1 + rate x strength x F), in place."""
        stiffness = torch.as_tensor(rate * self.strength, dtype=exact.dtype, device=exact.device)
        if name in self.fisher:
            stiffness = stiffness * self.fisher[name]
        exact.lerp_(self.start[name], stiffness / (1 + stiffness))


def squared_gradients(model: PreTrainedModel, texts: Iterable[Packed]) -> dict[str, Tensor]:
    """Sum over texts, each a row of its own, of (d log p(text) / d w)^2, by the name of a parameter.

    Over their number of tokens it is the empirical Fisher information of a token: tokens are those of the text, not
    drawn from the model.
    """
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    sums = {name: torch.zeros(one.shape, device=one.device) for name, one in parameters.items()}
    for packed in texts:
        completion_logps(model, packed).logps.sum().backward()
        for name, one in parameters.items():
            if one.grad is not None:
                sums[name] += one.grad.square()
                one.grad = None
    return sums


def unit_mean(squares: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divided by their mean over all parameters, so that EWC pulls as strongly as L2 on average."""
    total = sum(float(one.sum(dtype=torch.float64)) for one in squares.values())
    mean = total / sum(one.numel() for one in squares.values())
    return {name: one / mean for name, one in squares.items()}
