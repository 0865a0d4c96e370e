"""The names of torch and transformers that we use and that are not promised to stay; no other file uses one.

what it is for                               how we notice that it is gone    what runs then
------------------------------------------------------------------------------------------------------------
matrix products of the sampler on a CPU      a trial product, once            `linear`: slower
which attention a model computes with        no such attribute                dense masks that any attention takes
whether a model carries a state              no such attribute                the kinds of its layers, and a trial
which modules are a model's layers           the import fails                 the layers of the base model
how many shapes torch.compile will compile   no such attribute                torch's own number of shapes
a compiled function of two calls, not six    no such attribute                more calls of smaller parts
when the way back is compiled                no such attribute                a failure there ends the run
whether a hook reads inside of a layer       no such attribute                it is not seen: a hook may read nothing
what the files of a model leave out          no such attribute                all of its tensors are written
names and parts of tensors in these files    the import fails                 those of the model in memory
how many exchanges a process has begun       no such attribute                nobody is blamed for doing nothing

The numbers are the same in each case, up to rounding (tests/grpo/engine/test_private_apis.py).
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

if TYPE_CHECKING:  # the command imports this file before it decides whether transformers may go online
    from transformers import PreTrainedModel

ATTENTION = "_attn_implementation"
STATEFUL = "_is_stateful"
SHAPES = "recompile_limit"
MOST_SHAPES = 64
GOES_ON_INSIDE = "nested_graph_breaks"
AT_ONCE = "force_non_lazy_backward_lowering"
HOOKS = ("_forward_pre_hooks", "_forward_hooks")
KEPT_OUT = "_keys_to_ignore_on_save"
SEQUENCE = "_get_sequence_number_for_group"


def onednn_product(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """x (B, in) -> x @ weight.T + bias for fp32 on a CPU, the weight re-ordered once by oneDNN for a batch of
    `rows`.
    """
    packed_weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed_weight, bias, "none", [], "")


@functools.cache
def has_onednn_product() -> bool:
    """Whether this torch multiplies by a re-ordered weight, and rightly: tried once, on a small one."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.arange(6.0).view(2, 3)
    weight = torch.arange(12.0).view(4, 3)
    bias = torch.arange(4.0)
    try:
        product = onednn_product(weight, bias, rows=2)(x)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(product, linear(x, weight, bias))


def attention_name(model: "PreTrainedModel") -> str | None:
    """transformers' name of the attention that a model computes with ("sdpa", "eager"); None where it does
    not say.
    """
    return getattr(model.config.get_text_config(), ATTENTION, None)


def is_stateful(model: "PreTrainedModel") -> bool:
    """Whether a model says that it carries a state from token to token, as recurrent ones do."""
    return bool(getattr(model, STATEFUL, False))


def compiled_for_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled anew for each shape; torch would give up after eight of them."""
    allow_shapes()
    return torch.compile(function, dynamic=False)


def allow_shapes() -> None:
    """Let torch compile a function as often as it is asked for another kind of input, up to MOST_SHAPES."""
    import torch._dynamo.config as settings  # takes seconds, and a CPU does not need it

    if hasattr(settings, SHAPES):
        setattr(settings, SHAPES, max(MOST_SHAPES, getattr(settings, SHAPES)))


@functools.cache
def compiled_for_lengths(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """`function`, compiled once for all lengths. Where it calls a function that the compiler must not read, it becomes a
    part before that and a part behind. A failure in compiling the way back shows in the forward pass already.
    """
    import torch._dynamo.config as settings
    import torch._functorch.config as gradients

    allow_shapes()
    for module, name in ((settings, GOES_ON_INSIDE), (gradients, AT_ONCE)):
        if hasattr(module, name):
            setattr(module, name, True)
    options: dict[str, Any] | None = {"emulate_precision_casts": True} if backend == "inductor" else None
    return torch.compile(function, dynamic=True, backend=backend, options=options)


def hooks_inside(layer: nn.Module) -> list[Any]:
    """The tables of hooks of all modules inside of a layer; a table is empty where there is none, now or later."""
    inside = [part for part in layer.modules() if part is not layer]
    return [getattr(part, name) for part in inside for name in HOOKS if hasattr(part, name)]


def layers_of(model: "PreTrainedModel") -> list[Any]:
    """The modules that transformers' own gradient checkpointing would compute again; empty where it knows
    none.
    """
    try:
        from transformers.modeling_layers import GradientCheckpointingLayer
    except ImportError:
        return [*getattr(model.base_model, "layers", nn.ModuleList())]
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def names_kept_out(model: "PreTrainedModel") -> set[str]:
    """The tensors of a model that transformers does not write."""
    return set(getattr(model, KEPT_OUT, None) or ())


def tensors_in_files(model: "PreTrainedModel", tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a model under the names, and in the parts, that transformers writes: some families have others in
    memory, such as the experts of a layer in one tensor.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return tensors
    return revert_weight_conversion(model, tensors)


def collectives_begun(group: object) -> int:
    """How many exchanges this process has begun in a process group; -1 where torch does not say."""
    count: Callable[[], int] | None = getattr(group, SEQUENCE, None)
    try:
        return count() if count else -1
    except RuntimeError:  # not of this backend
        return -1
