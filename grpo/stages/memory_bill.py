"""The bill of memory, named by part: bytes are counted from the model's shape and the memory modes of [engine].

docs/memory.md has the same counts as a table. Of an accelerator this is what torch allocates at most; its
allocator adds a few percent of fragments.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from data.documents import user_path
from grpo.config import Config, EngineConfig
from grpo.engine.products import FORMATS, FP32, Format

# bytes of a parameter
FP32_BYTES = 4
METRIC_BYTES = {"fp32": 4, "bf16": 2}  # by reward.metric_format
HALF_BYTES = 2
# of AdamW: two, and in 8 bits a scale of fp32 for 256 of them
MOMENTS = {"fp32": 8.0, "8bit": 2 + 2 * 4 / 256}
# of what a protection stores: the start of half of the columns in the layers; of all parameters; and their Fisher
PROTECTION = {"none": 0.0, "shield": 2.0, "l2": 4.0, "ewc": 8.0}
# bytes that a layer keeps for the backward pass of each number of a token's hidden state, feed-forward layer,
# queries, and keys (values are as many): counted in what autograd saves (tests/grpo/stages), for products of 16
# bits; a norm keeps 8 bytes of each number
HIDDEN_BYTES = 10
FEED_FORWARD_BYTES = 14
QUERY_BYTES = 6
KEY_BYTES = 4
NORM_BYTES = 8
CHUNK_TENSORS = 2  # logits and probabilities, fp32
SAMPLING_TENSORS = 4  # logits, the same over the temperature, exponentials, exponentials in whole blocks
HOST_BUFFERS = 2  # layers of a frozen model that are on the accelerator at a time
PLAIN = EngineConfig()
GUESSED_LAYERS = 36
NORMS = {"gemma2": 4, "gemma3_text": 4, "olmo2": 2}  # of a layer around attention and MLP; others have 2
NORMED_QUERIES = ("gemma3_text", "qwen3", "olmo2")


@dataclass(frozen=True)
class ModelSizes:
    """Numbers of a model; `embedding`: parameters of its head, which is the embedding where it is `tied`.
    `feed_forward`, `queries` and `keys` are numbers of a token in a layer; `norms` of a layer are as wide as its
    hidden state.
    """

    parameters: int
    embedding: int
    vocabulary: int
    layers: int
    width: int
    feed_forward: int
    queries: int
    keys: int
    tied: bool = True
    norms: int = 2
    norms_queries: bool = False

    @property
    def body(self) -> int:
        """Parameters of all layers."""
        return self.parameters - self.embedding * (1 if self.tied else 2)

    def with_rows(self, rows: int) -> "ModelSizes":
        """With so many more rows in embedding and head."""
        added = rows * (self.embedding // max(1, self.vocabulary))
        return replace(
            self,
            parameters=self.parameters + added * (1 if self.tied else 2),
            embedding=self.embedding + added,
            vocabulary=self.vocabulary + rows,
        )

    @classmethod
    def of(
        cls, config: Mapping[str, Any], parameters: int, embedding: int, tied: bool = True
    ) -> "ModelSizes":
        """From the settings in a model's config.json; what it does not name is guessed as of a plain
        transformer.
        """
        text = config.get("text_config") or config

        def number(*names: str) -> int:
            values = (text.get(name) for name in names)  # a list of a number for each layer is guessed too
            return next((value for value in values if value and isinstance(value, int)), 0)

        layers = number("num_hidden_layers", "n_layer") or GUESSED_LAYERS
        width = number("hidden_size", "n_embd") or max(
            1, int(((parameters - embedding) / 12 / layers) ** 0.5)
        )
        heads = number("num_attention_heads", "n_head") or 1
        size = number("head_dim") or width // heads
        kind = text.get("model_type")
        return cls(
            parameters,
            embedding,
            number("vocab_size") or embedding // width,
            layers,
            width,
            number("intermediate_size", "n_inner") or 4 * width,
            heads * size,
            (number("num_key_value_heads") or heads) * size,
            tied,
            NORMS.get(kind, 2) if isinstance(kind, str) else 2,
            kind in NORMED_QUERIES,
        )


@dataclass(frozen=True)
class StepWork:
    """P prompts of at most `prompt` tokens x G completions of at most `new` tokens; a pass over `pass_tokens`
    packed tokens, in the memory modes of `engine`. `processes` share every model. `protection`: a key of PROTECTION.
    `fixes_lower`: embeddings and the lower third of the layers are not trained.
    `metrics`: bytes of the learned metrics that training asks; of those that the evaluation asks.
    """

    prompts: int
    group: int
    prompt: float
    new: float
    pass_tokens: float
    has_reference: bool = False
    has_anchor: bool = False
    engine: EngineConfig = PLAIN
    optimizer: str = "adamw"
    fixes_lower: bool = False
    processes: int = 1
    protection: str = "none"
    metrics: float = 0.0
    evaluation_metrics: float = 0.0

    @property
    def rows(self) -> int:
        return self.prompts * self.group


@dataclass(frozen=True)
class MemoryBill:
    """Bytes of each part at the peak of a rollout and at that of an update, by name; and of an evaluation by learned
    metrics.
    """

    rollout: Mapping[str, float]
    update: Mapping[str, float]
    evaluation: Mapping[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        return max(sum(parts.values()) for parts in (self.rollout, self.update, self.evaluation))

    def lines(self, memory: int) -> list[str]:
        """`memory`: bytes that the accelerator has."""
        found = [f"memory       about {self.peak / 1e9:.1f} GB of the accelerator's {memory / 1e9:.1f} GB"]
        states = {"rollout": self.rollout, "update": self.update, "evaluation": self.evaluation}
        for name, parts in states.items():
            if not parts:
                continue
            shown = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items() if size)
            found.append(f"  {name:10} {sum(parts.values()) / 1e9:.1f} GB: {shown}")
        return found


def memory_bill(sizes: ModelSizes, work: StepWork, format: Format) -> MemoryBill:
    """The bill of a step: what stays, and what a rollout and an update add to it. The sampler's copies of the weights,
    keys and values stay: a captured step needs them at the same places.
    """
    # these import transformers, which --check may do and no import of this
    from grpo.engine.chunked_head import CHUNK
    from grpo.engine.graph_decoder import TAIL, WIDTH, round_up

    slots = replace(
        work, prompt=round_up(math.ceil(work.prompt), WIDTH), new=round_up(math.ceil(work.new), TAIL)
    )
    share = 1 / work.processes
    models = {
        "weights": FP32_BYTES * sizes.parameters * share,
        "moments": moment_bytes(sizes, work) * share,
        "reference": frozen_bytes(sizes, work.engine, format) * share * work.has_reference,
        "anchor": number_bytes(format) * sizes.embedding * work.has_anchor,  # its head; the rest is let go
        "format copies": copy_bytes(sizes, work.engine, format),
        "keys and values": cache_bytes(sizes, slots, format),
        "whole layers": whole_bytes(sizes) if work.processes > 1 else 0,
    }
    if work.metrics:
        models["metrics"] = work.metrics
    if work.protection != "none":
        models["protection"] = protection_bytes(sizes, work.protection)
    rollout = {"logits": SAMPLING_TENSORS * 4 * work.rows * sizes.vocabulary}
    copies = 0 if format == FP32 else HALF_BYTES * len({format.forward, format.backward})
    head = FP32_BYTES + copies  # of the gradient that a pass gathers, and of the operands
    update = {
        "gradients": gradient_bytes(sizes, work) * share,
        "activations": activation_bytes(sizes, work),
        "logits": CHUNK_TENSORS * 4 * CHUNK * sizes.vocabulary + head * sizes.embedding,
    }
    scored = {"weights": models["weights"], "metrics": work.evaluation_metrics}
    return MemoryBill(models | rollout, models | update, scored if work.evaluation_metrics else {})


def metric_bytes(config: Config, in_training: bool) -> float:
    """The bytes of the weights of the learned metrics that training asks, or of all of them, which an evaluation asks; of
    the largest where one is in memory at a time. Raises InputError for weights that cannot be read.
    """
    from data.model_folder import tensor_shapes

    reward = config.reward
    best_by = [config.eval.best_by] if config.eval.every else []
    sizes = [
        METRIC_BYTES[reward.metric_format] * sum(map(math.prod, tensor_shapes(path).values()))
        for name, folder in reward.metrics.items()
        if not in_training or name in (*reward.names, *best_by)
        for path in [user_path(folder) / "model.safetensors"]
        if path.exists()
    ]
    return float(max(sizes, default=0) if reward.one_metric_at_a_time else sum(sizes))


def moment_bytes(sizes: ModelSizes, work: StepWork) -> float:
    """The bytes of the optimiser's moments; SGD has none."""
    return 0 if work.optimizer == "sgd" else MOMENTS[work.engine.moments] * trained_parameters(sizes, work)


def trained_parameters(sizes: ModelSizes, work: StepWork) -> float:
    """How many parameters have a gradient; a head of its own is one of them where the lower third has none."""
    if not work.fixes_lower:
        return sizes.parameters
    return sizes.body * (sizes.layers - -(-sizes.layers // 3)) / sizes.layers + (
        0 if sizes.tied else sizes.embedding
    )


def protection_bytes(sizes: ModelSizes, kind: str) -> float:
    """The bytes that a protection stores; a shield stores nothing of embedding and head."""
    return PROTECTION[kind] * (sizes.body if kind == "shield" else sizes.parameters)


def gradient_bytes(sizes: ModelSizes, work: StepWork) -> float:
    """The bytes of the gradients. With steps in the backward pass one exists at a time; the largest is that of the
    head, which is counted there.
    """
    if work.engine.step_in_backward:
        return 0
    number = HALF_BYTES if work.engine.gradients == "bf16" else FP32_BYTES
    return number * trained_parameters(sizes, work)


def frozen_bytes(sizes: ModelSizes, engine: EngineConfig, format: Format) -> float:
    """The bytes of a model that is not trained: it is kept in the format in which products read it. The embedding is
    looked up and stays fp32, on the host where it is not the head too.
    """
    on_host = engine.frozen == "host"
    layers = HOST_BUFFERS * sizes.body / sizes.layers if on_host else sizes.body
    head = 0 if sizes.tied else sizes.embedding
    embedding = 0 if on_host and not sizes.tied else sizes.embedding
    return number_bytes(format) * (layers + head) + FP32_BYTES * embedding


def number_bytes(format: Format) -> int:
    """The bytes of a number that products read."""
    return FP32_BYTES if format == FP32 else HALF_BYTES


def copy_bytes(sizes: ModelSizes, engine: EngineConfig, format: Format) -> float:
    """The bytes of the sampler's copies of layers and head; high halves are read where they are."""
    in_place = engine.weights == "split" and format.forward == FORMATS["bf16"].forward
    return number_bytes(format) * (sizes.embedding + (0 if in_place else sizes.body))


def cache_bytes(sizes: ModelSizes, work: StepWork, format: Format) -> float:
    """The bytes of the keys and values of each prompt, and of the completions behind it."""
    tokens = work.prompts * work.prompt + work.rows * work.new
    number = format.forward.itemsize if format.pieces == 1 else FP32.forward.itemsize
    return 2 * number * sizes.layers * sizes.keys * tokens


def layer_bytes(sizes: ModelSizes) -> float:
    """The bytes that a layer keeps of a token for the backward pass."""
    norm_bytes = NORM_BYTES * sizes.norms_queries
    return (
        (HIDDEN_BYTES + NORM_BYTES * sizes.norms) * sizes.width
        + FEED_FORWARD_BYTES * sizes.feed_forward
        + (QUERY_BYTES + norm_bytes) * sizes.queries
        + (KEY_BYTES + norm_bytes) * sizes.keys
    )


def activation_bytes(sizes: ModelSizes, work: StepWork) -> float:
    """The bytes that the forward pass keeps for the backward pass; with gradient checkpointing the input of each
    layer and all of one layer.
    """
    if work.engine.gradient_checkpointing:
        return work.pass_tokens * (sizes.layers * 4 * sizes.width + layer_bytes(sizes))
    return work.pass_tokens * sizes.layers * layer_bytes(sizes)


def whole_bytes(sizes: ModelSizes) -> float:
    """The bytes of what a shared model has whole: the layer that computes, the next one, and the embedding with its
    gradient, in fp32.
    """
    layer = sizes.body / sizes.layers
    return FP32_BYTES * (2 * layer + 2 * sizes.embedding * (1 if sizes.tied else 2))


# a setting of [engine], the value that saves memory, and its price: the share of a step's time that it may cost, or
# where it costs rounding or clipping, a number above those
SWITCHES: tuple[tuple[str, Any, float], ...] = (
    ("frozen", "host", 0.1),
    ("gradient_checkpointing", True, 0.3),
    ("gradients", "bf16", 1.0),
    ("moments", "8bit", 1.1),
    ("weights", "split", 2.5),
)


def candidates(engine: EngineConfig) -> Iterator[EngineConfig]:
    """Memory modes beside those of a run, cheapest first."""
    free = [one for one in SWITCHES if getattr(engine, one[0]) != one[1]]
    choices = [some for count in range(1, len(free) + 1) for some in combinations(free, count)]
    for some in sorted(choices, key=lambda some: sum(price for _, _, price in some)):
        yield replace(engine, **{name: value for name, value, _ in some})


def switches_in_words(old: EngineConfig, new: EngineConfig) -> str:
    """The settings that switch on the memory modes of `new`, as a command line has them."""
    changes = {name: value for name, value, _ in SWITCHES if getattr(old, name) != getattr(new, name)}
    changes |= {"number_format": "bf16"} if "weights" in changes else {}
    return " ".join(f"engine.{name}={str(value).lower()}" for name, value in changes.items())


def cheapest_fit(
    sizes: ModelSizes, work: StepWork, format: Format, memory: float
) -> tuple[str, MemoryBill] | None:
    """The settings of the cheapest memory mode whose bill is within `memory`, and that bill."""
    for engine in candidates(work.engine):
        own_format = FORMATS["bf16"] if engine.weights == "split" else format
        bill = memory_bill(sizes, replace(work, engine=engine), own_format)
        if bill.peak <= memory:
            return switches_in_words(work.engine, engine), bill
    return None
