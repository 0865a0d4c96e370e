"""Cuts a byte-fallback BPE vocabulary down to some scripts, on the plain dictionary of a `tokenizer.json`.

Not a tokenizer and not tied to a model: dictionaries and lists go in and out; grpo/engine/pretrained.py reads and
writes the files.

Why it is exact: the two halves of a BPE piece are made of the piece's own characters and were learnt before
it, so keeping every piece of some characters keeps all merges a text of these characters can use, in the same
order. Where a script is cut by rank instead (Latin here), rare long pieces are lost and such words split into
shorter ones; bytes still spell everything.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

LATIN_RANKS = 40_000  # ids below this keep their all-Latin pieces: common English stays whole
TURN_TOKENS = frozenset({"<start_of_turn>", "<end_of_turn>", "<mask>"})
EXAMPLES = 5  # differing texts that a comparison of two tokenizers shows
CONTROL_IDS = 4  # pad, eos, bos, unk come first and keep their ids
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")

_TIBETAN = range(0x0F00, 0x1000)
_HAN = (range(0x3400, 0xA000), range(0x20000, 0x31350))
_NEUTRAL = (
    range(0x80),
    range(0x2000, 0x2070),
    range(0x3000, 0x3040),
    range(0xFF00, 0xFF66),
)  # ASCII, punctuation, full width
_NEUTRAL_SINGLES = frozenset("▁\xa0°·×")


def character_class(character: str) -> str:
    """'tibetan', 'han', 'latin' (ASCII, shared punctuation, the word mark) or 'other'.

    >>> [character_class(c) for c in "ཀ中a。é"]
    ['tibetan', 'han', 'latin', 'latin', 'other']
    """
    code = ord(character)
    if code in _TIBETAN:
        return "tibetan"
    if any(code in block for block in _HAN):
        return "han"
    if character in _NEUTRAL_SINGLES or any(code in block for block in _NEUTRAL):
        return "latin"
    return "other"


def kept_ids(tokenizer: Mapping[str, Any], latin_ranks: int = LATIN_RANKS) -> list[int]:
    """Ids of the pieces to keep, ascending: control, byte and turn tokens, Tibetan, Han, single characters,
    frequent Latin.
    """
    added_ids = {token["id"] for token in tokenizer["added_tokens"]}

    def keep(piece: str, rank: int) -> bool:
        if rank < CONTROL_IDS or piece in TURN_TOKENS or BYTE_PIECE.fullmatch(piece):
            return True
        if rank in added_ids and piece.startswith("<"):  # unused slots, mark-up
            return False
        classes = {character_class(character) for character in piece}
        if "other" in classes:
            return False
        return len(piece) == 1 or classes != {"latin"} or rank < latin_ranks

    return sorted(rank for piece, rank in tokenizer["model"]["vocab"].items() if keep(piece, rank))


def trim_tokenizer(tokenizer: Mapping[str, Any], keep: Sequence[int]) -> dict[str, Any]:
    """The `tokenizer.json` dictionary with only the pieces `keep`, renumbered 0.. in that order; the argument
    is left alone.

    Raises ValueError for an id that is no piece, or when `keep` is not strictly ascending (merge order and
    special ids rely on it).
    """
    piece_of = {rank: piece for piece, rank in tokenizer["model"]["vocab"].items()}
    if any(a >= b for a, b in pairwise(keep)) or not all(i in piece_of for i in keep):
        raise ValueError("keep must be strictly ascending ids of the vocabulary")
    new_id = {piece_of[old]: new for new, old in enumerate(keep)}
    model = dict(tokenizer["model"])
    model["vocab"] = new_id
    model["merges"] = [merge for merge in model["merges"] if _merge_survives(merge, new_id)]
    return {
        **tokenizer,
        "model": model,
        "added_tokens": [
            {**token, "id": new_id[token["content"]]}
            for token in tokenizer["added_tokens"]
            if token["content"] in new_id
        ],
        "post_processor": _renumber(tokenizer.get("post_processor"), new_id),
    }


def _merge_survives(merge: str | Sequence[str], new_id: Mapping[str, int]) -> bool:
    """A merge needs both halves and the whole. Written "a b" or ["a", "b"], depending on the age of the
    file.
    """
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in new_id and right in new_id and left + right in new_id


def _renumber(post_processor: Mapping[str, Any] | None, new_id: Mapping[str, int]) -> Any:
    """The post-processor (which adds BOS) with new ids for its special tokens."""
    if post_processor is None:
        return None
    result = json.loads(json.dumps(post_processor))
    for part in [result, *result.get("processors", [])]:
        for token in part["special_tokens"].values() if isinstance(part.get("special_tokens"), dict) else ():
            token["ids"] = [new_id[name] for name in token["tokens"]]
    return result


def compare_pieces(
    texts: Iterable[str],
    full: Callable[[list[str]], list[list[str]]],
    trimmed: Callable[[list[str]], list[list[str]]],
    *,
    batch_size: int = 1000,
) -> dict[str, Any]:
    """How often two tokenizers cut the same text into the same pieces; `full` and `trimmed` map texts to
    their lists of pieces. The report shows the first EXAMPLES that differ.
    """
    report: dict[str, Any] = {
        "texts": 0,
        "tokens_full": 0,
        "tokens_trimmed": 0,
        "differing": 0,
        "examples": [],
    }
    batch: list[str] = []

    def count() -> None:
        for text, before, after in zip(batch, full(batch), trimmed(batch), strict=True):
            report["texts"] += 1
            report["tokens_full"] += len(before)
            report["tokens_trimmed"] += len(after)
            if before != after:
                report["differing"] += 1
                if len(report["examples"]) < EXAMPLES:
                    report["examples"].append({"text": text, "full": before, "trimmed": after})
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == batch_size:
            count()
    count()
    report["equal_share"] = 1 - report["differing"] / max(1, report["texts"])
    return report
