"""Reward terms: strings in, numbers out. A new term is a file here, a line in TERMS and its weight in `RewardConfig`."""

from collections.abc import Callable

from torch import Tensor

from reward.cosine import cosine as cosine_term
from reward.cosine import cosine_raw
from reward.script import script as script_term

TERMS: dict[str, Callable[..., Tensor]] = {"cosine": cosine_term, "cosine_raw": cosine_raw, "script": script_term}
