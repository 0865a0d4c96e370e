"""What of a corpus a run can use, the setting to raise, and that it is known before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_tokenizers
from transformers import PreTrainedTokenizerFast

from data.errors import InputError
from data.examples import Example
from data.prepare import Corpus
from data.prompt import Prompt
from data.template import Wording
from grpo.config import Config, EvalConfig, ModelConfig, RolloutConfig, SFTConfig, TaxConfig, TrainConfig
from grpo.stages.lengths import COMPLETION, PROMPT, fit, fits, needs

CONFIG = Config(
    model=ModelConfig(max_prompt_tokens=96),
    sft=SFTConfig(max_completion_tokens=32),
    rollout=RolloutConfig(max_new_tokens=32),
    eval=EvalConfig(max_new_tokens=40),
)


def examples(count: int, reference: str = "甲乙") -> tuple[Example, ...]:
    """The sources are 1, 2, ... bytes long."""
    return tuple(Example(str(n), "a" * n, reference, "o", "l", "bo", "zh") for n in range(1, count + 1))


def prompt_tokens(example: Example) -> int:
    return 1 + len(Wording().text(example).encode())


def corpus_of(**parts: tuple[Example, ...]) -> Corpus:
    return Corpus(
        **{name: parts.get(name, examples(4)) for name in ("warm_start", "train", "dev", "test")}, manifest={}
    )


def test_what_fits_is_kept_in_order_and_the_rest_counted_by_its_cause(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    given = (*examples(10), *examples(1, "甲" * 10))
    found = fit(
        "warm_start", given, Prompt.of(tiny_tokenizer), {PROMPT: prompt_tokens(given[6]), COMPLETION: 7}
    )
    assert found.examples == list(given[:7])
    assert (len(found.candidates), found.over, sum(found.special)) == (11, {PROMPT: 3, COMPLETION: 1}, 0)
    assert found.longest == prompt_tokens(given[6]) + 7
    assert found.line() == (
        f"warm_start: 7 of 11 examples can be used (3 over {PROMPT} = {prompt_tokens(given[6])}, 1 over {COMPLETION} = 7)"
    )


def test_where_nothing_fits_the_setting_and_the_value_that_keeps_99_per_cent_are_named(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Past bug: a run on a script spelled in bytes ended with "no examples", and no word of the limit that
    had kept all of them out.
    """
    given = examples(200)
    enough = prompt_tokens(given[197])  # 198 of 200
    with pytest.raises(
        InputError, match=rf"train: 0 of 200 .*\(200 over {PROMPT} = 8\); {PROMPT} = {enough} would keep 99 %"
    ):
        fit("train", given, Prompt.of(tiny_tokenizer), {PROMPT: 8}).check()
    assert len(fit("train", given, Prompt.of(tiny_tokenizer), {PROMPT: enough}).check().examples) == 198
    with pytest.raises(InputError, match=rf"{COMPLETION} = 7 would keep all$"):
        fit("warm_start", given, Prompt.of(tiny_tokenizer), {PROMPT: 1000, COMPLETION: 6}).check()
    assert fit("dev", (), Prompt.of(tiny_tokenizer), {PROMPT: 8}).check().examples == []


def test_texts_with_a_special_token_that_the_tokenizer_cannot_write_are_left_out(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizers.t5(tmp_path)
    given = examples(3) + examples(1, "天</s>地") + (Example("5", "<s>", "天", "o", "l", "bo", "zh"),)
    found = fit("train", given, Prompt.of(tokenizer), {PROMPT: 100})
    assert found.examples == list(given[:3]) and sum(found.special) == 2
    assert "2 with the spelling of a special token" in found.line()
    with pytest.raises(InputError, match=r"special token.*take another model or other texts"):
        fit("train", given[3:], Prompt.of(tokenizer), {PROMPT: 100}).check()


def test_a_dev_set_that_is_needed_and_empty_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    given = corpus_of(dev=())
    assert "dev" not in fits(given, Prompt.of(tiny_tokenizer), CONFIG)
    with pytest.raises(
        InputError, match=r"too small for a dev set, which eval\.every or reward.threshold asks for"
    ):
        fits(given, Prompt.of(tiny_tokenizer), replace(CONFIG, eval=EvalConfig(every=1)))


def test_every_part_that_a_run_reads_is_looked_at(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = replace(CONFIG, sft=SFTConfig(max_completion_tokens=7), eval=EvalConfig(every=1))
    given = corpus_of(warm_start=examples(5) + examples(2, "甲" * 3))
    found = fits(given, Prompt.of(tiny_tokenizer), config)
    assert {name: (len(one.examples), len(one.candidates)) for name, one in found.items()} == {
        "train": (4, 4), "dev": (4, 4), "test": (4, 4), "warm_start": (5, 7)
    }  # fmt: skip
    assert "warm_start" not in fits(
        given, Prompt.of(tiny_tokenizer), replace(config, sft=SFTConfig(num_steps=0))
    )
    unread = replace(config, eval=EvalConfig(), reward=replace(config.reward, threshold=0.2))
    assert "dev" not in fits(given, Prompt.of(tiny_tokenizer), unread)
    assert "dev" in fits(
        given, Prompt.of(tiny_tokenizer), replace(unread, reward=replace(config.reward, threshold="mean"))
    )


def test_positions_are_counted_for_every_kind_of_text(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = replace(CONFIG, tax=TaxConfig(budget=0.1))
    found = fits(corpus_of(), Prompt.of(tiny_tokenizer), config)
    longest = prompt_tokens(examples(4)[3])
    assert [need.tokens for need in needs(found, Prompt.of(tiny_tokenizer), config)] == [
        longest + 40 - 1,
        longest + 7 - 1,
        97,
    ]
    strong = replace(config, train=TrainConfig(method="sft"), tax=TaxConfig())
    assert [need.tokens for need in needs(found, Prompt.of(tiny_tokenizer), strong)] == [
        longest + 40 - 1,
        longest + 7 - 1,
        longest + 7 - 1,
    ]


def test_a_limit_that_keeps_many_out_is_said_with_the_value_that_would_keep_them(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Sources of 1 .. 10 words of one letter; prompts of more than 7 words are too long."""
    prompt = Prompt.of(tiny_tokenizer)
    given = tuple(Example(str(n), " ".join("a" * n), "甲乙", "o", "l", "sw", "zh") for n in range(1, 11))
    limit = prompt_tokens(given[6])
    assert fit("train", given, prompt, {PROMPT: limit}).report() == (
        f"train: 7 of 10 examples can be used (3 over {PROMPT} = {limit}); {PROMPT} = {limit + 6} would keep all"
    )
    assert fit("train", given, prompt, {PROMPT: limit + 6}).report() == ""
    many = examples(250)
    most = fit("train", many, prompt, {PROMPT: prompt_tokens(many[247])})
    assert (
        most.report()
        == f"train: 248 of 250 examples can be used (2 over {PROMPT} = {prompt_tokens(many[247])})"
    )


def test_two_limits_that_each_keep_99_per_cent_need_no_advice(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Past bug: limits that the corpus had given were advised again, as values that would keep 99 %."""
    prompt = Prompt.of(tiny_tokenizer)
    sources = ["aaaa"] * 2 + ["a"] * 198
    references = ["甲"] * 198 + ["甲乙"] * 2
    given = tuple(
        Example(str(n), source, reference, "o", "l", "sw", "zh")
        for n, (source, reference) in enumerate(zip(sources, references, strict=True))
    )
    limits = {PROMPT: prompt_tokens(given[5]), COMPLETION: len(prompt.encode_completion("甲"))}
    assert fit("warm_start", given, prompt, limits).report() == (
        f"warm_start: 196 of 200 examples can be used (2 over {PROMPT} = {limits[PROMPT]}, "
        f"2 over {COMPLETION} = {limits[COMPLETION]})"
    )
