"""Which examples of a corpus a run can use: those within its length limits, of texts that its tokenizer can write. Nothing is ever cut.

Not here: how a text becomes tokens (data/template.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from data.ends import ends_of
from data.errors import InputError
from data.examples import Example
from data.prepare import Corpus
from data.template import encode_completion, encode_prompt, prompt_text
from grpo.config import Config
from grpo.modelcheck import Need

PROMPT, COMPLETION = "model.max_prompt_tokens", "sft.max_completion_tokens"
TOKENS: dict[str, Callable[[PreTrainedTokenizerBase, Example], int]] = {  # what each setting limits
    PROMPT: lambda tokenizer, example: len(encode_prompt(tokenizer, example)),
    COMPLETION: lambda tokenizer, example: len(encode_completion(tokenizer, example.reference)),
}
ENOUGH = 99  # per cent of the examples that the value advised would keep
GENERAL_TOKENS = 97  # of a general text, with the token in front of it (grpo/taxguard.py, grpo/anchored.py)


@dataclass(frozen=True)
class Fit:
    """What a run can use of one part of a corpus, and what keeps the rest out.

    examples  those it can use, in their order
    over      setting -> how many of all are longer than it allows
    enough    setting -> the smallest value that keeps `ENOUGH` per cent of all
    special   how many of all hold the spelling of a special token that the tokenizer cannot write as text
    longest   tokens of the longest of the examples, by all that is limited together
    """

    part: str
    total: int
    examples: list[Example]
    limits: Mapping[str, int]
    over: dict[str, int]
    enough: dict[str, int]
    special: int
    longest: int

    def line(self) -> str:
        """How many are left, and why the others are not."""
        causes = [f"{count:,} over {setting} = {self.limits[setting]}" for setting, count in self.over.items() if count]
        causes += [f"{self.special:,} with the spelling of a special token, which this tokenizer cannot write as text"] * bool(self.special)
        return f"{self.part}: {len(self.examples):,} of {self.total:,} examples can be used" + (f" ({', '.join(causes)})" if causes else "")

    def check(self) -> "Fit":
        """Itself. InputError where there were examples and none can be used; it names the settings to raise."""
        if self.total and not self.examples:
            raised = [f"{setting} = {self.enough[setting]}" for setting, count in self.over.items() if count]
            cure = f"{' and '.join(raised)} would keep {ENOUGH} %" if raised else "take another model or other texts"
            raise InputError(f"{self.line()}; {cure}")
        return self


def fit(part: str, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, limits: Mapping[str, int]) -> Fit:
    """What can be used of `examples`, called `part`, within `limits`: setting of `TOKENS` -> most tokens."""
    spellings = ends_of(tokenizer).spellings
    tokens = np.array([[TOKENS[setting](tokenizer, example) for setting in limits] for example in examples]).reshape(-1, len(limits))
    special = np.array([any(spelling in text for spelling in spellings for text in texts_of(example)) for example in examples], dtype=bool)
    over = tokens > np.array(list(limits.values()))
    kept = ~over.any(axis=1) & ~special
    enough = np.percentile(tokens, ENOUGH, axis=0, method="inverted_cdf") if len(tokens) else np.zeros(len(limits))
    return Fit(
        part, len(examples), [example for example, keep in zip(examples, kept, strict=True) if keep], limits,
        dict(zip(limits, map(int, over.sum(axis=0)), strict=True)), dict(zip(limits, map(int, enough), strict=True)),
        int(special.sum()), int(tokens[kept].sum(axis=1).max(initial=0)),
    )  # fmt: skip


def texts_of(example: Example) -> tuple[str, str]:
    """The two texts of an example that become tokens."""
    return prompt_text(example), example.reference


def prompt_limits(config: Config) -> dict[str, int]:
    """What keeps an example out whose reference text is only compared with."""
    return {PROMPT: config.model.max_prompt_tokens}


def pair_limits(config: Config) -> dict[str, int]:
    """What keeps an example out of the warm start."""
    return prompt_limits(config) | {COMPLETION: config.sft.max_completion_tokens}


def fits(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, config: Config) -> dict[str, Fit]:
    """What a run can use of every part that it reads, by the part's name."""
    parts = {"train": corpus.train, "dev": corpus.dev, "test": corpus.test}
    found = {name: fit(name, examples, tokenizer, prompt_limits(config)) for name, examples in parts.items()}
    if config.sft.num_steps:
        found["warm_start"] = fit("warm_start", corpus.warm_start, tokenizer, pair_limits(config))
    return found


def needs(found: Mapping[str, Fit], tokenizer: PreTrainedTokenizerBase, config: Config) -> list[Need]:
    """The positions that each kind of text of a run needs. A completion's last token is only predicted, and needs none."""
    written = max(config.rollout.max_new_tokens, config.eval.max_new_tokens)
    longest = max((one.longest for name, one in found.items() if name != "warm_start"), default=0)
    cure = f"lower {PROMPT}, rollout.max_new_tokens or eval.max_new_tokens"
    wanted = [Need(longest + written - 1, "prompts with what is written behind them", cure)]
    if "warm_start" in found:
        wanted.append(Need(found["warm_start"].longest - 1, "pairs of the warm start", f"lower {PROMPT} or {COMPLETION}"))
    if config.train.method == "sft" and "train" in found:
        pairs = (sum(measure(tokenizer, example) for measure in TOKENS.values()) for example in found["train"].examples)
        wanted.append(Need(max(pairs, default=1) - 1, 'pairs of train.method = "sft"', f"lower {PROMPT}, or the longest texts of data"))
    if config.tax.budget or config.sft.anchor or config.train.anchor:
        wanted.append(Need(GENERAL_TOKENS, "general texts of tax and anchor", "write tax.budget=0 sft.anchor=0 train.anchor=0"))
    return wanted
