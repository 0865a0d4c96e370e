"""Work that a GRPO step cannot avoid, counted from sizes alone: floating-point operations and bytes.
docs/performance.md says why so.

A multiplication and an addition are two operations. Norms, activations, softmaxes and sampling are not
counted, nor is anything that is done twice: a share of the machine's rate made of these counts can only be
too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

NUMBER = 4  # bytes of an fp32 number
# over the parameters: gradient for its norm; parameter, gradient and two moments read; three of them written
ADAMW_PASSES = 8
# forward passes that a forward and a backward pass are worth: two more products of the same size for each
TRAINING = 3


@dataclass(frozen=True)
class ModelShape:
    """`body`: numbers in the matrices that every token passes; `head`: in the output matrix; `windows`: of
    each layer, None = all keys.
    """

    body: int
    head: int
    parameters: int
    windows: tuple[int | None, ...]
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Lengths:
    """Tokens of P prompts, and of the completions of each."""

    prompts: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    @property
    def tails(self) -> list[tuple[int, int]]:
        """(place, count) of the completion tokens that are fed: the last one of each is only predicted."""
        return [
            (prompt, count - 1)
            for prompt, group in zip(self.prompts, self.completions, strict=True)
            for count in group
        ]

    @property
    def unique(self) -> int:
        """Tokens that have to pass the model: each prompt once."""
        return sum(self.prompts) + sum(count for _, count in self.tails)

    @property
    def predictions(self) -> int:
        """Places whose next token is a completion's: the end of a prompt serves its whole group."""
        return len(self.prompts) + sum(count for _, count in self.tails)


def uniform(prompts: int, prompt: int, group: int, new: int) -> Lengths:
    """All prompts of one length, and all completions of another."""
    return Lengths((prompt,) * prompts, ((new,) * group,) * prompts)


def shape_of(model: PreTrainedModel) -> ModelShape:
    """Matrices are parameters of two dimensions that are no table of embeddings; a tied output matrix counts
    as the head.
    """
    config = model.config.get_text_config()
    head = model.get_output_embeddings().weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)} | {
        id(head)
    }
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return ModelShape(
        body=sum(
            parameter.numel()
            for parameter in model.parameters()
            if parameter.dim() >= 2 and id(parameter) not in tables
        ),
        head=head.numel(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        windows=tuple(config.sliding_window if kind == "sliding_attention" else None for kind in kinds),
        heads=config.num_attention_heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
    )


def visible_keys(first: int, count: int, window: int | None) -> int:
    """Keys that the tokens at places first, first + 1, ... see together, themselves included.

    >>> visible_keys(0, 3, None), visible_keys(2, 2, 3)
    (6, 6)
    """
    return sum(min(place + 1, window or place + 1) for place in range(first, first + count))


def attention_flops(shape: ModelShape, runs: Sequence[tuple[int, int]]) -> int:
    """Scores and weighted sums of values, for stretches of tokens (place, count)."""
    return (
        4
        * shape.heads
        * shape.head_dim
        * sum(visible_keys(*run, window) for window in shape.windows for run in runs)
    )


def forward_flops(shape: ModelShape, lengths: Lengths) -> int:
    """One pass over the unique tokens, the head where a completion's token is predicted. A rollout is the
    same work, a token at a time.
    """
    runs = [*((0, prompt) for prompt in lengths.prompts), *lengths.tails]
    return (
        2 * shape.body * lengths.unique + 2 * shape.head * lengths.predictions + attention_flops(shape, runs)
    )


def step_flops(shape: ModelShape, lengths: Lengths) -> dict[str, int]:
    """By phase of the loop: the rollout, one reference pass, one forward and backward pass."""
    forward = forward_flops(shape, lengths)
    return {"rollout": forward, "reward": 0, "score": forward, "update": TRAINING * forward}


def prefill_flops(shape: ModelShape, lengths: Lengths) -> int:
    """Every prompt once, the head at its end."""
    return forward_flops(shape, Lengths(lengths.prompts, tuple(() for _ in lengths.prompts)))


def decode_flops(shape: ModelShape, prompts: Sequence[int], group: int, place: int) -> int:
    """One token for each row, `place` tokens after its prompt."""
    rows = len(prompts) * group
    return 2 * (shape.body + shape.head) * rows + group * attention_flops(
        shape, [(prompt + place, 1) for prompt in prompts]
    )


def weight_bytes(shape: ModelShape, number: int = NUMBER) -> int:
    """Every matrix read once, `number` bytes for each of its numbers."""
    return number * (shape.body + shape.head)


def decode_bytes(
    shape: ModelShape, prompts: Sequence[int], group: int, place: int, number: int = NUMBER
) -> int:
    """The matrices, the keys and values of each prompt once, and those of each row's own tokens."""
    key_bytes = 2 * number * shape.kv_heads * shape.head_dim
    keys = sum(
        min(prompt, window or prompt) + group * place for window in shape.windows for prompt in prompts
    )
    return weight_bytes(shape, number) + key_bytes * keys


def optimiser_bytes(shape: ModelShape) -> int:
    return NUMBER * ADAMW_PASSES * shape.parameters
