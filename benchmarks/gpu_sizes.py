"""What `make bench-gpu` measures: models of true sizes, and the shapes of steps and of decoding for each."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.step import StepSize
from benchmarks.subject import DEFAULT, FAMILIES, TINY
from grpo.stages.memory_bill import ModelSizes

PASS_TOKENS = 8192  # packed tokens of a pass
QWEN: dict[str, Any] = {
    "vocab_size": 151936,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class ModelSize:
    """A model and its rows of the table. `recomputes`: layers are computed again in its backward pass;
    `warm_start` and `peer`: whether it also has these rows.
    """

    name: str
    family: str
    settings: dict[str, Any]
    steps: tuple[StepSize, ...] = ()
    decode_rows: tuple[int, ...] = (64, 256, 512)
    recomputes: bool = False
    warm_start: bool = False
    peer: bool = False
    decode: "DecodeSize" = field(default_factory=lambda: DecodeSize())


@dataclass(frozen=True)
class DecodeSize:
    """Prompts of `prompt` tokens, `group` rows each. A decode step is the difference between rollouts of `long`
    and of `short` tokens, which is one in the middle between them.
    """

    prompt: int = 60
    group: int = 8
    short: int = 10
    long: int = 80

    @property
    def place(self) -> int:
        return (self.short + self.long) // 2


def qwen(name: str, layers: int, width: int, feed_forward: int, heads: int, **rest: Any) -> ModelSize:
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
    }
    return ModelSize(name, "qwen3", QWEN | sizes, **rest)


def step_size(prompts: int, new: int, prompt: int) -> StepSize:
    return StepSize(prompts, 8, new, prompt, PASS_TOKENS)


SIZES = (  # smallest first: where time is short, the last are left out
    ModelSize(
        "0.13B", "gemma3", DEFAULT, (step_size(8, 32, 30), step_size(64, 32, 30)), warm_start=True, peer=True
    ),
    qwen("0.6B", 28, 1024, 3072, 16),
    qwen("1.7B", 28, 2048, 6144, 16, steps=(step_size(16, 128, 256),)),
    qwen("4B", 36, 2560, 9728, 32, steps=(step_size(8, 128, 256),), recomputes=True),
)
TINY_SIZE = ModelSize(
    "tiny",
    "gemma3",
    TINY,
    (StepSize(2, 2, 4, 5, 64), StepSize(4, 2, 4, 5, 64)),
    (4, 8),
    recomputes=True,
    warm_start=True,
    peer=True,
    decode=DecodeSize(5, 2, 2, 6),
)


def bill_sizes(size: ModelSize, parameters: int, embedding: int) -> ModelSizes:
    """The same model as the bill sees it."""
    kind = FAMILIES[size.family][1].model_type
    return ModelSizes.of({"model_type": kind, "head_dim": 256} | size.settings, parameters, embedding)
