"""New pieces for a vocabulary: what is learned, what stays, and the model that has them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_tokenizers
import torch
from model_families import made
from ragged import PROMPTS
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from data.cache import cache_dir
from data.config import DataConfig
from data.ends import text_ids
from data.errors import InputError
from data.prepare import prepare
from data.script import count_units, script_of
from data.sources.general_texts import read_general_texts
from grpo.engine.extended import FACTS, add_rows, extend
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.model import load_frozen, load_policy, load_tokenizer
from grpo.engine.new_pieces import learn_pieces
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import check_packing

CPU = torch.device("cpu")
KINDS: dict[str, Callable[[Path], PreTrainedTokenizerBase]] = {
    "byte-level BPE": lambda folder: tiny_tokenizers.byte_level(("t", "h"), ("th", "e")),
    "BPE of letters": lambda folder: tiny_tokenizers.characters("abcdeghnoptsl. <>/x天地人山", "<b>"),
    "BPE with spaces and bytes": tiny_tokenizers.gemma,
    "BPE with a word mark": tiny_tokenizers.llama,
    "unigram with bytes": lambda folder: tiny_tokenizers.llama(folder, kind="unigram"),
    "unigram": tiny_tokenizers.t5,
}
WORDS = ["ཀཱི་", "ཁ་ག་", "天地", "地人", "the", "dogs", "ཨེ"]


def invent_lines(seed: int, count: int = 60) -> list[str]:
    """Lines of words, some beside a space."""
    choices = random.Random(seed)
    return ["".join(choices.choice([*WORDS, " "]) for _ in range(9)).strip() for _ in range(count)]


def dictionary(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return found


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_get_shorter_and_others_stay(kind: str, tmp_path: Path) -> None:
    """Each text comes back as before; with its new pieces spelled out, so do texts that have none."""
    content = dictionary(KINDS[kind](tmp_path))
    before = json.dumps(content)
    pieces = learn_pieces(content, invent_lines(0), 30)
    assert json.dumps(content) == before and 10 < len(pieces.parts) <= 30
    old, new = Tokenizer.from_str(before), Tokenizer.from_str(json.dumps(pieces.tokenizer))
    known = old.get_vocab(with_added_tokens=True)
    assert new.get_vocab(with_added_tokens=True).items() >= known.items()
    assert [*pieces.parts] == [*range(max(known.values()) + 1, max(known.values()) + 1 + len(pieces.parts))]
    assert all(max(parts) <= max(known.values()) for parts in pieces.parts.values())
    lengths = [0, 0]
    back = 0
    for text in invent_lines(1):
        first, second = ids(old, text), ids(new, text)
        lengths = [lengths[0] + len(first), lengths[1] + len(second)]
        if old.decode(first) == text:  # where it can write all letters
            back += 1
            assert new.decode(second) == text
    assert lengths[1] < 0.7 * lengths[0] and back >= (0 if kind in ("unigram", "BPE of letters") else 50)
    without = [
        text
        for text in ("sleep on a cat", "<b>x</b>", "人 山", "s. o. s", "😀")
        if not {*ids(new, text)} & {*pieces.parts}
    ]
    assert len(without) >= 4 and all(ids(new, text) == ids(old, text) for text in without)


def test_pieces_by_hand() -> None:
    """ab stands 12 times and is merged first; then abc, 7 times; cd is left, 6 times; dd stands too rarely."""
    content = dictionary(tiny_tokenizers.characters("abcd "))
    content["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    pieces = learn_pieces(content, ["abc"] * 7 + ["ab"] * 5 + ["cd"] * 6 + ["dd"] * 4, 9)
    first = max(content["model"]["vocab"].values()) + 1
    found = {piece: token for piece, token in pieces.tokenizer["model"]["vocab"].items() if token >= first}
    assert found == {"ab": first, "abc": first + 1, "cd": first + 2}
    spelled = [[content["model"]["vocab"][letter] for letter in piece] for piece in ("ab", "abc", "cd")]
    assert [list(parts) for parts in pieces.parts.values()] == spelled
    assert [*learn_pieces(content, ["abc"] * 7, 1).parts] == [first]


def test_letters_come_first_and_are_spelled_by_their_bytes(tmp_path: Path) -> None:
    content = dictionary(tiny_tokenizers.gemma(tmp_path))
    pieces = learn_pieces(content, ["ཀཀཁ"] * 6 + ["ག"], 3)
    names = {token: piece for piece, token in pieces.tokenizer["model"]["vocab"].items()}
    assert [names[token] for token in pieces.parts] == ["ཀ", "ཁ", "ཀཀ"]
    bytes_of = tuple(content["model"]["vocab"][f"<0x{byte:02X}>"] for byte in "ཀ".encode())
    first, _, third = pieces.parts.values()
    assert (first, third) == (bytes_of, 2 * bytes_of)


def test_the_same_texts_give_the_same_pieces(tmp_path: Path) -> None:
    content = dictionary(tiny_tokenizers.gemma(tmp_path))
    assert learn_pieces(content, invent_lines(0), 40) == learn_pieces(content, invent_lines(0), 40)


def test_vocabularies_that_cannot_grow_are_refused(tmp_path: Path) -> None:
    content = dictionary(tiny_tokenizers.t5(tmp_path))
    behind = content["added_tokens"][0] | {"id": len(content["model"]["vocab"]) + 9, "content": "<extra>"}
    with pytest.raises(
        InputError, match=r"vocabulary have gaps, so it cannot grow; write model\.add_pieces=0"
    ):
        learn_pieces(content | {"added_tokens": [behind]}, [], 3)
    with pytest.raises(InputError, match="is of the kind WordLevel"):
        learn_pieces({"model": {"type": "WordLevel"}}, [], 3)
    marked = {"model": {"type": "BPE", "end_of_word_suffix": "</w>"}}
    with pytest.raises(InputError, match="BPE with marks inside of words"):
        learn_pieces(marked, [], 3)


@pytest.mark.parametrize("family", ["Llama 2", "Qwen 2.5", "Phi"])  # untied, tied, with a bias
@pytest.mark.parametrize("rows", [259, 262, 300])
def test_rows_are_means_and_old_ones_stay(family: str, rows: int, tmp_path: Path) -> None:
    """Also into padding, and across its end; a row before the first piece is the mean of all."""
    made(family, tmp_path, vocab_size=rows)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    old = AutoModelForCausalLM.from_pretrained(tmp_path)
    state = torch.get_rng_state()
    add_rows(model, {260: (5, 6, 7), 261: (8,)})
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.vocab_size == max(rows, 262) == len(model.get_output_embeddings().weight)
    for find in (type(model).get_input_embeddings, type(model).get_output_embeddings):
        before, after = find(old).weight, find(model).weight
        torch.testing.assert_close(after[260], before[5:8].mean(dim=0))
        assert torch.equal(after[261], before[8]) and torch.equal(after[:259], before[:259])
    if family == "Phi":
        torch.testing.assert_close(model.lm_head.bias[260], old.lm_head.bias[5:8].mean())
    if rows == 259:
        torch.testing.assert_close(after[259], before.mean(dim=0))
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == (family == "Qwen 2.5")
    with torch.no_grad():
        text = torch.tensor(PROMPTS[:1])
        assert torch.equal(model.eval()(text).logits[..., :259], old.eval()(text).logits[..., :259])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "BPE of letters"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_is_one_of_plain_transformers(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tokenizer = KINDS[kind](tmp_path / "tokenizer")
    made("Llama 2", tmp_path / "base", vocab_size=len(tokenizer) + 3)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype)
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    extend(tmp_path / "base", tmp_path / "new", invent_lines(0), 20)
    spelled = json.loads((tmp_path / "new" / FACTS).read_text())
    theirs = AutoTokenizer.from_pretrained(tmp_path / "new")
    raw = Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    for text in invent_lines(1, 20):
        assert theirs.encode(text, add_special_tokens=False) == ids(raw, text)
    theirs.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert [again.encode(text) for text in invent_lines(2)] == [
        theirs.encode(text) for text in invent_lines(2)
    ]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert (
        model.dtype == dtype and model.config.vocab_size == len(tokenizer) + 20 == max(map(int, spelled)) + 1
    )
    policy = load_policy(tmp_path / "new", CPU)
    assert check_packing(policy) < 1e-4
    assert load_tokenizer(tmp_path / "new").eos_token_id == tokenizer.eos_token_id
    rollout = generate(policy, [[5, 6]], Sampling(40, 8, 3.0, ()), seed=(0,))
    assert int(rollout.completion_ids.max()) >= len(tokenizer)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("count", "most_tokens"), [(1000, 1.2), (2000, 1.0)])
def test_tibetan_for_the_default_model(count: int, most_tokens: float, tmp_path: Path) -> None:
    """Learned from the training part, counted on the test part; the figures of docs/models.md."""
    cache = cache_dir()
    base = cache / "models" / "gemma-3-270m-trimmed"
    if not base.exists() or not any((cache / "corpus").glob("*")):
        pytest.skip("the default model or its corpus is not in the cache; `make train` makes both")
    corpus = prepare(DataConfig(max_source_units=14, max_target_units=20), cache, say=lambda _: None)
    extend(base, tmp_path / "new", (example.source for example in corpus.train), count)
    tests = [example.source for example in corpus.test]
    units = sum(count_units(text, script_of("bo")) for text in tests)
    news = [text[:300] for text in read_general_texts("", 16, cache)]
    tokens, nats = [], []
    for folder in (base, tmp_path / "new"):
        tokenizer = load_tokenizer(folder)
        tokens.append(sum(len(text_ids(tokenizer, text)) for text in tests) / units)
        choices = [[text_ids(tokenizer, text)] for text in news]
        model = load_frozen(folder, CPU)
        nats.append(
            -sum(score for (score,) in log_likelihoods(model, [first_ids(tokenizer)] * len(news), choices))
        )
        if folder == base:
            old_tokens = sum(len(one) for (one,) in choices)
    assert tokens[0] == pytest.approx(2.94, abs=0.02) and tokens[1] < most_tokens
    assert -0.01 < (nats[1] - nats[0]) / old_tokens <= 0.01
