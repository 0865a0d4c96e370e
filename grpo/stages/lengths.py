"""Which examples of a corpus a run can use: those within its length limits. Nothing is ever cut.

Not here: how a text becomes tokens (data/prompt.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.config import TESTS
from data.errors import InputError
from data.examples import Example
from data.grams import Ints
from data.prepare import Corpus
from data.prompt import Prompt
from data.records import Chain, Selection
from grpo.config import Config
from grpo.engine.self_check import Need

PROMPT = "model.max_prompt_tokens"
COMPLETION = "sft.max_completion_tokens"
TOKENS: dict[str, Callable[[Prompt, Example], int]] = {  # what each setting limits
    PROMPT: lambda prompt, example: len(prompt.encode_prompt(example)),
    COMPLETION: lambda prompt, example: len(prompt.encode_completion(example.reference)),
}
Counts = NDArray[np.int32]
ENOUGH = 99  # per cent of the examples that the value advised would keep
# of a general text, with the token in front of it (grpo/stages/tax_guard.py, grpo/stages/anchor_setup.py)
GENERAL_TOKENS = 97


@dataclass(frozen=True)
class Fit:
    """What a run can use of one part of a corpus, and what keeps the rest out. The n candidates stay on disk.

    tokens   setting -> (n,) the tokens that each candidate has of what the setting limits
    special  (n,) whether it holds a special token, which the tokenizer cannot write as text
    """

    part: str
    candidates: Sequence[Example]
    limits: Mapping[str, int]
    tokens: Mapping[str, Counts]
    special: NDArray[np.bool_]

    @cached_property
    def usable(self) -> Ints:
        """The positions of those it can use."""
        fits = ~self.special
        for name, limit in self.limits.items():
            fits = fits & (self.tokens[name] <= limit)
        return np.flatnonzero(fits)

    @property
    def examples(self) -> Selection[Example]:
        """Those it can use, in their order."""
        return Selection(self.candidates, self.usable)

    @property
    def longest(self) -> int:
        """Tokens of the longest that it can use, by all that is limited together."""
        totals = np.sum([*self.tokens.values()], axis=0)
        return int(totals[self.usable].max(initial=0))

    @property
    def over(self) -> dict[str, int]:
        """How many of all are longer than each setting allows, where any are."""
        limits = self.limits.items()
        counts = {name: int((self.tokens[name] > limit).sum()) for name, limit in limits}
        return {name: count for name, count in counts.items() if count}

    def line(self) -> str:
        """How many are left, and why the others are not."""
        causes = [f"{count:,} over {name} = {self.limits[name]}" for name, count in self.over.items()]
        if num_special := int(self.special.sum()):
            cause = "with the spelling of a special token, which the tokenizer cannot write as text"
            causes.append(f"{num_special:,} {cause}")
        why = f" ({', '.join(causes)})" if causes else ""
        return f"{self.part}: {len(self.usable):,} of {len(self.candidates):,} examples can be used{why}"

    @property
    def cure(self) -> str:
        """Which values would keep nearly all, for each limit that keeps out more than ENOUGH allows; "" where none does."""
        share = 100 - (100 - ENOUGH) / max(1, len(self.over))  # so that all limits together keep ENOUGH
        most = (1 - ENOUGH / 100) * len(self.candidates)
        limits = {
            name: smallest(self.tokens[name], share) for name, count in self.over.items() if count > most
        }
        is_all = limits.keys() == self.over.keys() and all(
            limit == self.tokens[name].max() for name, limit in limits.items()
        )
        values = " and ".join(f"{name} = {limit}" for name, limit in limits.items())
        return values and f"{values} would keep {'all' if is_all else f'{ENOUGH} %'}"

    def report(self) -> str:
        """The line, with the cure where a limit keeps many out; "" where all can be used."""
        lines = [self.line(), self.cure] if self.cure else [self.line()]
        return "; ".join(lines) if len(self.usable) < len(self.candidates) else ""

    def check(self) -> "Fit":
        """Itself. InputError, naming the settings to raise, where there were examples and none is of use."""
        if len(self.candidates) and not len(self.usable):
            raise InputError(f"{self.line()}; {self.cure or 'take another model or other texts'}")
        return self


def smallest(tokens: Counts, share: float = ENOUGH) -> int:
    """The smallest limit that keeps `share` per cent."""
    return int(np.percentile(tokens, share, method="inverted_cdf"))


def fit(part: str, candidates: Sequence[Example], prompt: Prompt, limits: Mapping[str, int]) -> Fit:
    """What can be used of the examples of a part; `limits`: setting of `TOKENS` -> most tokens. Reads each once."""
    spellings = prompt.spellings
    counts = [TOKENS[name] for name in limits]

    def row(example: Example) -> tuple[int, ...]:
        text = prompt.texts_of(example)
        return (
            *(count(prompt, example) for count in counts),
            any(spelling in text for spelling in spellings),
        )

    columns = np.dtype((np.int32, (len(limits) + 1,)))
    table: Counts = np.fromiter(map(row, candidates), columns, len(candidates))
    return Fit(part, candidates, limits, dict(zip(limits, table.T, strict=False)), table[:, -1] > 0)


def warm_start_pairs(config: Config, corpus: Corpus) -> Sequence[Example]:
    """What the warm start learns from: its part of the corpus, by sft.pairs = "all" also that of the stage behind it."""
    return Chain([corpus.warm_start, corpus.train]) if config.sft.pairs == "all" else corpus.warm_start


def prompt_limits(config: Config) -> dict[str, int]:
    """What keeps an example out whose reference text is only compared with."""
    return {PROMPT: config.model.max_prompt_tokens}


def pair_limits(config: Config) -> dict[str, int]:
    """What keeps an example out of the warm start."""
    return prompt_limits(config) | {COMPLETION: config.sft.max_completion_tokens}


def fits(corpus: Corpus, prompt: Prompt, config: Config) -> dict[str, Fit]:
    """What a run can use of every part that it reads, by the part's name. InputError for a dev set that is
    needed and empty.
    """
    parts = {"train": corpus.train, "test": corpus.test}
    parts |= {f"{TESTS}{name}": examples for name, examples in corpus.tests.items()}
    if config.eval.every or config.reward.is_measured:
        parts["dev"] = corpus.dev
        if not corpus.dev:
            raise InputError(
                "the corpus is too small for a dev set, which eval.every or reward.threshold asks for; give more pairs"
            )
    by_part = {name: fit(name, examples, prompt, prompt_limits(config)) for name, examples in parts.items()}
    if config.sft.num_steps:
        pairs = warm_start_pairs(config, corpus)
        by_part["warm_start"] = fit("warm_start", pairs, prompt, pair_limits(config))
    return by_part


def needs(parts: Mapping[str, Fit], prompt: Prompt, config: Config) -> list[Need]:
    """The positions that each kind of text of a run needs. A completion's last token is only predicted."""
    num_new = max(config.rollout.max_new_tokens, config.eval.max_new_tokens)
    longest = max(one.longest for name, one in parts.items() if name != "warm_start")
    cure = f"lower {PROMPT}, rollout.max_new_tokens or eval.max_new_tokens"
    texts = [Need(longest + num_new - 1, "prompts with what is written behind them", cure)]
    if "warm_start" in parts:
        cure = f"lower {PROMPT} or {COMPLETION}"
        texts.append(Need(parts["warm_start"].longest - 1, "pairs of the warm start", cure))
    if config.train.method in ("sft", "self_distillation"):
        longest_pair = max(
            (sum(map(len, prompt.encode_pair(one))) for one in parts["train"].examples), default=1
        )
    if config.train.method == "self_distillation":
        shown = max(1, config.train.nearest_pairs) * longest_pair
        cure = f"lower train.nearest_pairs or {PROMPT}, or leave out the longest texts"
        texts.append(Need(shown + longest + num_new, "prompts of the teacher with demonstrations", cure))
    if config.train.method == "sft":
        cure = f"lower {PROMPT}, or leave out the longest texts"
        texts.append(Need(longest_pair - 1, 'pairs of train.method = "sft"', cure))
    if config.tax.budget or config.trains_on_general_text:
        cure = "write tax.budget=0, and leave out [anchor], [replay] and [protection]"
        texts.append(Need(GENERAL_TOKENS, "general texts of tax and anchor", cure))
    return texts
