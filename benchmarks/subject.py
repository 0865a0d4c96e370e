"""What the benchmarks run on: the default policy or a random one, prompts of an exact length, a tokenizer
under which nothing ends.

Token ids are random: no time here depends on them, except that of the reward, which gets what the model's own
tokenizer makes of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from data.cache import cache_dir
from data.examples import Example
from data.prompt import Prompt
from grpo.engine.model import as_policy, load_policy, load_tokenizer
from grpo.runtime.device import Compute
from grpo.training import RewardFunction
from reward.combine import RewardConfig

FIRST_ORDINARY = 4  # below are padding, end, start and unknown
COMMON: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 1}
TINY = COMMON | {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "head_dim": 8,
}
DEFAULT = COMMON | {
    "vocab_size": 48578,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
}
REFERENCE = "打开文件"
FAMILIES: dict[str, tuple[Any, Any]] = {
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
}


class Numerals:
    """Stands in for a tokenizer: a prompt is the ids that its text names in figures; there is no end token,
    so none can be sampled.
    """

    bos_token_id = None
    unk_token_id = eos_token_id = -1
    all_special_ids = all_special_tokens = ()

    def __init__(self, words: Any):
        """`words`: the tokenizer that says what completions mean, or None."""
        self.words = words
        self.added_tokens_decoder: dict[int, Any] = {}

    def get_vocab(self) -> dict[str, int]:
        return {}

    def encode(self, text: str, **settings: bool) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return (
            self.words.decode(ids, skip_special_tokens=skip_special_tokens)
            if self.words
            else " ".join(map(str, ids))
        )

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.unk_token_id


def numerals(words: Any) -> Prompt:
    """The prompt of `Numerals`."""
    tokenizer: Any = Numerals(words)
    return Prompt.of(tokenizer)


@dataclass(frozen=True)
class Subject:
    """`what` says which model it is."""

    policy: PreTrainedModel
    prompt: Prompt
    reward: RewardFunction
    compute: Compute
    what: str

    @property
    def vocabulary(self) -> int:
        return int(self.policy.config.get_text_config().vocab_size)


def random_model(sizes: dict[str, Any], compute: Compute, family: str = "gemma3") -> PreTrainedModel:
    """Gemma 3 or Qwen 3 of some sizes, made on its device, weights as they come."""
    make_model, make_config = FAMILIES[family]
    torch.manual_seed(0)
    with compute.device:
        model = make_model(make_config(**sizes))
    return as_policy(model, compute.device, format=compute.format)


def default_subject(compute: Compute) -> Subject:
    """The default policy and the default reward; where the policy has not been obtained, random weights of
    its sizes.
    """
    folder = cache_dir() / "models" / "gemma-3-270m-trimmed"
    if folder.is_dir():
        return Subject(
            load_policy(folder, compute.device, format=compute.format),
            numerals(load_tokenizer(folder)),
            default_reward(compute),
            compute,
            folder.name,
        )
    what = "random weights of the default policy's sizes (make train obtains the policy)"
    return Subject(random_model(DEFAULT, compute), numerals(None), default_reward(compute), compute, what)


def tiny_subject(compute: Compute) -> Subject:
    """For a smoke test: everything runs, no number means anything."""
    model = random_model(TINY, compute)
    return Subject(model, numerals(None), trivial_reward, compute, "a tiny random model")


def trivial_reward(
    sources: Sequence[str], completions: Sequence[str], references: Sequence[Sequence[str]], group_size: int
) -> tuple[Any, Any]:
    """Counts different characters: takes no time and needs no encoder."""
    return torch.tensor([len(set(text)) / 10 for text in completions]).view(-1, group_size), {}


def default_reward(compute: Compute) -> RewardFunction:
    """Section [reward] as it comes, without the encoder that is only watched; nothing is kept on disk."""
    from reward.semantic import SemanticReward  # benchmarks.gpu runs without an encoder's packages

    shown = tuple(name for name in RewardConfig().shown if name != "cosine_held_out")
    return SemanticReward("zh", texts=[REFERENCE], shown=shown, device=str(compute.device)).function


def prompts(subject: Subject, count: int, length: int, seed: int = 0) -> list[list[int]]:
    """Random ordinary tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(FIRST_ORDINARY, subject.vocabulary, (count, length), generator=generator).tolist()


@dataclass(frozen=True)
class OneBatch:
    """The same batch at every step."""

    batch: Sequence[Any]

    def at(self, step: int) -> Sequence[Any]:
        return self.batch


def pairs(subject: Subject, count: int, prompt: int, completion: int) -> OneBatch:
    """Pairs of a prompt and a completion of so many tokens each, for the warm start."""
    completions = prompts(subject, count, completion, seed=2)
    return OneBatch([*zip(prompts(subject, count, prompt), completions, strict=True)])


def example(ids: Sequence[int]) -> Example:
    """An example whose prompt, under `Numerals`, has exactly these ids."""
    return Example("random", " ".join(map(str, ids)), REFERENCE, "made up", "none", "bo", "zh")
