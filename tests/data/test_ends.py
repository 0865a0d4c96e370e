"""What ends a completion, and what a text may hold, with tokenizers of every kind."""

import gc
from pathlib import Path

import pytest
import tiny_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from data import ends
from data.ends import ends_of, find_ends, text_ids
from data.examples import Example
from data.prompt import Prompt

LETTER = "\u010a"
KINDS = (
    "byte level", "llama", "llama, unigram", "llama, nfkc", "gemma", "characters", "bytes without a backend",
)  # fmt: skip


def tokenizer_of(kind: str, folder: Path) -> PreTrainedTokenizerBase:
    if kind == "byte level":
        return tiny_tokenizers.byte_level()
    if kind == "characters":
        return tiny_tokenizers.characters("天地thedog <s>/\n")
    if kind == "bytes without a backend":
        return ByT5Tokenizer()
    if kind == "gemma":
        return tiny_tokenizers.gemma(folder)
    return tiny_tokenizers.llama(
        folder, "unigram" if "unigram" in kind else "bpe", True, "nmt_nfkc" if "nfkc" in kind else "identity"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_end_ends_a_completion(kind: str, tmp_path: Path) -> None:
    """Past bug: it was looked for by encoding one alone, with a word mark or as a space; outputs ran on."""
    tokenizer = tokenizer_of(kind, tmp_path)
    text = text_ids(tokenizer, "天地\nthe dog")
    stops = [token for token in text if token in Prompt.of(tokenizer).stops]
    assert len(stops) == 1 and tokenizer.decode([*text[:1], *stops, *text[:1]]).count("\n") == 1
    assert Prompt.of(tokenizer).decode_completion(text) == "天地"
    assert (
        Prompt.of(tokenizer).decode_completion(Prompt.of(tokenizer).encode_completion("the dog")) == "the dog"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_spelling_of_a_special_token_is_text(kind: str, tmp_path: Path) -> None:
    """Past bug: `</s>` in a reference taught an end in the middle of it, and the tag `<s>` of a source became
    a start token.
    """
    tokenizer = tokenizer_of(kind, tmp_path)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for spelling in {str(tokenizer.eos_token), *tokenizer.all_special_tokens, "</s>", "<s>"} - {
        "<unk>",
        "<pad>",
    }:
        text = f"天{spelling}地"
        ids = Prompt.of(tokenizer).encode_completion(text)
        assert special.isdisjoint(ids[:-1]) and ids[-1] == tokenizer.eos_token_id, (spelling, ids)
        if kind != "characters":  # it has not all letters
            assert Prompt.of(tokenizer).decode_completion(ids) == text
        prompt = Prompt.of(tokenizer).encode_prompt(Example("1", text, "天", "o", "l", "bo", "zh"))
        assert special.isdisjoint(prompt[tokenizer.bos_token_id is not None :])
    assert ends_of(tokenizer).spellings == ()


def test_tokens_of_a_text_without_spellings_are_what_they_were(tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        tokenizer = tokenizer_of(kind, tmp_path / str(number))
        for text in (tiny_tokenizers.TEXT, "天地 the dog", " the", "a<b>c</b>", "x\ny"):
            assert text_ids(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)


def test_a_token_that_only_holds_a_line_end_ends_too_and_what_stands_before_it_is_kept() -> None:
    tokenizer = tiny_tokenizers.byte_level(
        (LETTER, LETTER), (".", LETTER), (f".{LETTER}", LETTER), (LETTER, "a")
    )
    line, lines, stop, stops, token = tokenizer.convert_tokens_to_ids(
        [LETTER, LETTER * 2, f".{LETTER}", f".{LETTER * 2}", f"{LETTER}a"]
    )
    result = find_ends(tokenizer)
    assert result.stops == (tokenizer.eos_token_id, *sorted((line, lines, stop, stops, token)))
    assert result.with_text == {stop, stops}
    go = text_ids(tokenizer, "go")
    assert (
        Prompt.of(tokenizer).decode_completion([*go, stop, *go])
        == Prompt.of(tokenizer).decode_completion([*go, stops, *go])
        == "go."
    )
    assert (
        Prompt.of(tokenizer).decode_completion([*go, token, *go])
        == Prompt.of(tokenizer).decode_completion([*go, lines])
        == "go"
    )
    assert Prompt.of(tokenizer).decode_completion([line, *go]) == ""


def test_a_half_character_before_a_line_end_stays_one_mark(tmp_path: Path) -> None:
    """Byte fallback decodes bytes together: with the line end behind it, the half character would become two marks."""
    tokenizer = tiny_tokenizers.llama(tmp_path)
    half, line = tokenizer.convert_tokens_to_ids(["<0xE5>", "<0x0A>"])
    assert Prompt.of(tokenizer).decode_completion([*text_ids(tokenizer, "天"), half, line]) == "天\ufffd"


def test_several_line_ends_in_one_added_token_end_a_completion() -> None:
    """Past bug: of Gemma's tokens of 1 to 31 line ends only the first two ended one."""
    tokenizer = tiny_tokenizers.characters("ab", "\n", "\n\n", "\n\n\n")
    a, three = tokenizer.convert_tokens_to_ids(["a", "\n\n\n"])
    assert Prompt.of(tokenizer).stops == (
        tokenizer.eos_token_id,
        *tokenizer.convert_tokens_to_ids(["\n", "\n\n", "\n\n\n"]),
    )
    assert Prompt.of(tokenizer).decode_completion([a, three, a]) == "a"


def test_the_letter_of_maltese_ends_nothing() -> None:
    tokenizer = tiny_tokenizers.characters(f"ab{LETTER}")
    assert Prompt.of(tokenizer).stops == (tokenizer.eos_token_id,)
    assert (
        Prompt.of(tokenizer).decode_completion(Prompt.of(tokenizer).encode_completion(f"a{LETTER}b"))
        == f"a{LETTER}b"
    )


def test_where_the_normaliser_eats_line_ends_only_the_end_token_ends(tmp_path: Path) -> None:
    """Past bug: the line end became a space, the space a stop, and every output empty."""
    tokenizer = tiny_tokenizers.t5(tmp_path)
    assert Prompt.of(tokenizer).stops == (tokenizer.eos_token_id,) and not ends_of(tokenizer).line_ends
    assert (
        Prompt.of(tokenizer).decode_completion(Prompt.of(tokenizer).encode_completion("the dog")) == "the dog"
    )


def test_spellings_that_no_text_can_hold_are_named(tmp_path: Path) -> None:
    """A unigram vocabulary that lists `</s>` takes it for the best piece of the text."""
    tokenizer = tiny_tokenizers.t5(tmp_path)
    assert {"</s>", "<s>"} <= set(ends_of(tokenizer).spellings)
    assert tokenizer.eos_token_id in text_ids(tokenizer, "天</s>地")


def test_special_tokens_that_a_policy_samples_are_no_text() -> None:
    tokenizer = tiny_tokenizers.byte_level()
    go = text_ids(tokenizer, "go")
    pad = tokenizer.pad_token_id
    bos = tokenizer.bos_token_id
    assert Prompt.of(tokenizer).decode_completion([bos, *go, pad, *go, tokenizer.eos_token_id, *go]) == "gogo"


def test_a_vocabulary_is_read_once_and_forgotten_with_its_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizers.byte_level()
    calls = []
    monkeypatch.setattr(ends, "line_ends", lambda tokenizer: calls.append(1) or {})
    for _ in range(3):
        Prompt.of(tokenizer).decode_completion(Prompt.of(tokenizer).encode_completion("go"))
    assert len(calls) == 1
    count = len(ends._ends_of_tokenizer)
    del tokenizer
    gc.collect()
    assert len(ends._ends_of_tokenizer) == count - 1
