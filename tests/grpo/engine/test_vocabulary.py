"""Cutting a vocabulary: on a hand-made BPE, texts of the kept scripts keep their pieces, everything else
still spells itself.
"""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from grpo.engine.vocabulary import compare_pieces, kept_ids, trim_tokenizer

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MERGES = ["a b", "▁ a", "ཀ ཁ", "中 国", "é a", "中国 a", "中国 。", "ཀཁ ་", "▁ 中国", "b b", "bb b"]
MARKUP = ["<i>"]  # an added token that is plain text
SINGLES = list("▁ab中国ཀཁ་。éж")
LATIN_RANKS = len(CONTROL) + len(BYTES) + len(MARKUP) + len(SINGLES) + 2  # the first two merges are below it


def toy(merges_as_lists: bool = False) -> dict[str, Any]:
    """A byte-fallback BPE laid out as Gemma's tokenizer.json."""
    pieces = [*CONTROL, *BYTES, *MARKUP, *SINGLES, *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary = {piece: rank for rank, piece in enumerate(pieces)}
    added = [{"id": vocabulary[p], "content": p, "special": p in CONTROL} for p in [*CONTROL, *MARKUP]]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [token | flags for token in added],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<mask>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<mask>": {"id": "<mask>", "ids": [vocabulary["<mask>"]], "tokens": ["<mask>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "vocab": vocabulary,
            "merges": [merge.split(" ") for merge in MERGES] if merges_as_lists else MERGES,
        },
    }  # fmt: skip


def tokenizers(merges_as_lists: bool = False) -> tuple[Tokenizer, Tokenizer, list[int]]:
    full = toy(merges_as_lists)
    keep = kept_ids(full, LATIN_RANKS)
    return (
        Tokenizer.from_str(json.dumps(full)),
        Tokenizer.from_str(json.dumps(trim_tokenizer(full, keep))),
        keep,
    )


def test_what_is_kept() -> None:
    full = toy()
    names = {rank: piece for piece, rank in full["model"]["vocab"].items()}
    lost = set(names) - set(kept_ids(full, LATIN_RANKS))
    assert {names[rank] for rank in lost} == {"<unused0>", "<i>", "é", "ж", "éa", "bb", "bbb"}
    assert {names[rank] for rank in set(names) - set(kept_ids(full, 10**6))} == {
        "<unused0>",
        "<i>",
        "é",
        "ж",
        "éa",
    }


@given(st.text(alphabet="ab中国ཀཁ་。 "), st.booleans())
def test_texts_of_the_kept_scripts_keep_their_pieces(text: str, merges_as_lists: bool) -> None:
    if "bb" in text:
        return  # its piece was cut by rank
    full, trimmed, keep = tokenizers(merges_as_lists)
    assert [keep[i] for i in trimmed.encode(text).ids] == full.encode(text).ids


@given(st.text(alphabet="ab中éж😀ཀ 。<i>"))
def test_every_text_can_still_be_written(text: str) -> None:
    _, trimmed, _ = tokenizers()
    assert trimmed.decode(trimmed.encode(text, add_special_tokens=False).ids) == text


def test_control_tokens_keep_their_ids_and_the_post_processor_follows() -> None:
    full, trimmed, keep = tokenizers()
    assert [trimmed.token_to_id(p) for p in CONTROL[:4]] == [0, 1, 2, 3]
    assert trimmed.encode("a").ids[0] == trimmed.token_to_id("<mask>") and full.encode("a").ids[
        0
    ] == full.token_to_id("<mask>")
    assert keep[trimmed.token_to_id("<mask>")] == full.token_to_id("<mask>")
    assert trimmed.get_vocab_size() == len(keep)


def test_no_piece_is_left_without_its_merge() -> None:
    full = toy()
    result = trim_tokenizer(full, kept_ids(full, LATIN_RANKS))
    made = {merge.replace(" ", "") for merge in result["model"]["merges"]}
    long = {piece for piece in result["model"]["vocab"] if len(piece) > 1 and not piece.startswith("<")}
    assert made == long == {"ab", "▁a", "ཀཁ", "中国", "中国a", "中国。", "ཀཁ་", "▁中国"}


def test_the_argument_is_left_alone() -> None:
    full = toy()
    before = copy.deepcopy(full)
    trim_tokenizer(full, kept_ids(full, LATIN_RANKS))
    assert full == before


@pytest.mark.parametrize("keep", [[1, 0], [0, 0, 1], [0, 10**6]])
def test_impossible_selections_are_refused(keep: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly ascending"):
        trim_tokenizer(toy(), keep)


def test_compare_pieces_counts_over_batches() -> None:
    report = compare_pieces(
        (f"{i} x" for i in range(7)), lambda texts: [text.split() for text in texts],
        lambda texts: [list(text) if text.startswith("3") else text.split() for text in texts], batch_size=3,
    )  # fmt: skip
    assert report == {
        "texts": 7, "tokens_full": 14, "tokens_trimmed": 15, "differing": 1, "equal_share": 1 - 1 / 7,
        "examples": [{"text": "3 x", "full": ["3", "x"], "trimmed": ["3", " ", "x"]}],
    }  # fmt: skip
    assert compare_pieces([], lambda texts: [], lambda texts: [])["equal_share"] == 1
