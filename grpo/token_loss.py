"""The losses of SFT, from the log-probabilities of a pass: a loss each token, and the sum with a gradient.

nll   -log p
dft   -sg(p) log p, sg: no gradient (Dynamic Fine-Tuning, arXiv 2508.05629, eq. 9): sure tokens count, surprises hardly
asft  dft + kl_coef x KL(base || policy) at the same tokens over the whole vocabulary (Anchored SFT, arXiv 2509.23753)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.logprob import CompletionLogps, completion_logps
from grpo.engine.model_kl import logps_and_kl
from grpo.engine.packing import Packed

LogpsFunction = Callable[[PreTrainedModel, Packed], CompletionLogps]
Values = tuple[Tensor, Mapping[str, Tensor]]


class TokenLoss(Protocol):
    def __call__(
        self, policy: PreTrainedModel, packed: Packed, logps_of: LogpsFunction = completion_logps, /
    ) -> Values:
        """-> loss (), and what the log has of it, sums over the tokens without gradient; "loss" is the NLL in all.
        `logps_of` runs the policy, with an anchor over its texts too.
        """
        ...


def nll(policy: PreTrainedModel, packed: Packed, logps_of: LogpsFunction = completion_logps, /) -> Values:
    """Negative log-likelihood."""
    loss = -logps_of(policy, packed).logps.sum()
    return loss, {"loss": loss.detach()}


def dft_of(logps: Tensor) -> Tensor:
    """Log-probabilities of any shape, 0 where there is no token -> the sum of -sg(p) log p."""
    return -(logps.detach().exp() * logps).sum()


def dft(policy: PreTrainedModel, packed: Packed, logps_of: LogpsFunction = completion_logps, /) -> Values:
    """Each token weighs its own probability."""
    logps = logps_of(policy, packed).logps
    return dft_of(logps), {"loss": -logps.detach().sum()}


@dataclass(frozen=True)
class Asft:
    """`base` is the model at the start of the stage."""

    base: PreTrainedModel
    kl_coef: float

    def __call__(
        self, policy: PreTrainedModel, packed: Packed, _logps_of: LogpsFunction = completion_logps, /
    ) -> Values:
        logps, divergence = logps_and_kl(policy, self.base, packed)
        loss = dft_of(logps) + self.kl_coef * divergence
        return loss, {"loss": -logps.detach().sum(), "base_kl": divergence.detach()}
