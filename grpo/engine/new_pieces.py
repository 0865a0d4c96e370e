"""Learns pieces that a tokenizer lacks, on the plain dictionary of a `tokenizer.json`.

Byte-pair encoding goes on where the tokenizer has stopped (Sennrich et al., arXiv 1508.07909): the texts are cut
into its own pieces, and the most frequent pair of neighbours becomes a piece, again and again. So every new piece
is made of old ones, and a text without a new piece is cut as before: the new merges come last in a BPE; in a
unigram vocabulary a new piece scores a little more than its two halves together.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from tokenizers import Encoding, Tokenizer, models, pre_tokenizers, trainers

from data.errors import InputError

LEAST_SEEN = 5  # times that a new piece must stand in the texts
MOST_PARTS = 24  # old pieces in a new one
MOST_TEXTS = 200_000  # to learn from; the first ones
BATCH = 1000
BONUS = 1e-3  # of a new piece in a unigram vocabulary, in nats
UNLIKELY = 100  # times the nats of the least likely piece
FIRST_SIGN = 0x10000  # pieces are written as single signs behind it, none of which is a space
WORD_MARK = "▁"
BREAKS = ("\n", "\u010a", "<0x0A>")  # line ends, as vocabularies spell them; no new piece holds one


class Pieces(NamedTuple):
    """A tokenizer with new pieces, and for each of these, by id, the old ids that spell it."""

    tokenizer: dict[str, Any]
    parts: dict[int, tuple[int, ...]]


def learn_pieces(tokenizer: Mapping[str, Any], texts: Iterable[str], count: int) -> Pieces:
    """At most `count` new pieces of the most frequent kinds; the argument is left alone.

    First come letters that the vocabulary lacks, then pairs. Raises InputError for a tokenizer of another kind.
    """
    check_kind(tokenizer)
    tokenizer = with_added_tokens(tokenizer)
    lines = [*islice(texts, MOST_TEXTS)]
    old = Tokenizer.from_str(json.dumps(tokenizer))
    letters = missing_letters(old, lines)[:count]
    spellings = [tuple(old.encode(letter, add_special_tokens=False).ids) for letter in letters]
    first = 1 + max(old.get_vocab(with_added_tokens=True).values())
    parts = dict(enumerate(spellings, start=first))
    content = with_letters(tokenizer, letters, first)
    merges = learn_merges(Tokenizer.from_str(json.dumps(content)), lines, count - len(letters))
    content = with_merges(content, merges, first + len(letters))
    ids = piece_ids(content)
    for left, right in merges:
        known = parts.get(ids[left], (ids[left],)) + parts.get(ids[right], (ids[right],))
        if ids[left + right] >= first:
            parts.setdefault(ids[left + right], known)
    return Pieces(content, parts)


def check_kind(tokenizer: Mapping[str, Any]) -> None:
    """InputError for a tokenizer whose vocabulary cannot grow so."""
    model = tokenizer["model"]
    kind = model.get("type")
    marks = [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")]
    if kind not in ("BPE", "Unigram") or any(marks):
        raise InputError(
            f"model.add_pieces: the tokenizer is of the kind {kind}{' with marks inside of words' * any(marks)}, "
            "and only BPE and Unigram vocabularies can grow; write model.add_pieces=0"
        )


def with_added_tokens(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer with its added tokens in the vocabulary too: one that is only added would move behind new pieces.

    No text becomes such a piece: no merge makes it, and in a unigram vocabulary it is far too unlikely.
    """
    model = dict(tokenizer["model"])
    known = piece_ids(tokenizer)
    added_ids = {
        one["content"]: one["id"] for one in tokenizer["added_tokens"] if one["content"] not in known
    }
    if model["type"] == "BPE":
        model["vocab"] = model["vocab"] | added_ids
    elif sorted(added_ids.values()) == [*range(len(known), len(known) + len(added_ids))]:
        least = UNLIKELY * min(score for _, score in model["vocab"])
        model["vocab"] = [
            *model["vocab"],
            *([one, least] for one in sorted(added_ids, key=added_ids.__getitem__)),
        ]
    else:
        raise InputError(
            "model.add_pieces: the ids of this Unigram vocabulary have gaps, so it cannot grow; write model.add_pieces=0"
        )
    return {**tokenizer, "model": model}


def piece_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """The ids of the pieces of a vocabulary of either kind."""
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return vocabulary
    return {piece: number for number, (piece, _) in enumerate(vocabulary)}


def missing_letters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Characters that are spelled by bytes or unknown, the most frequent first."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    counts: Counter[str] = Counter()
    for text in texts:
        normal_form = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        cutter = tokenizer.pre_tokenizer
        words = [word for word, _ in cutter.pre_tokenize_str(normal_form)] if cutter else [normal_form]
        for word in words:
            counts.update(word)
    missing = [letter for letter in counts if letter not in vocabulary and counts[letter] >= LEAST_SEEN]
    return sorted((letter for letter in missing if not letter.isspace()), key=lambda one: (-counts[one], one))


def with_letters(tokenizer: Mapping[str, Any], letters: Sequence[str], first: int) -> dict[str, Any]:
    """The tokenizer with more letters, from the id `first` on; in a unigram vocabulary the least likely pieces."""
    model = dict(tokenizer["model"])
    if model["type"] == "BPE":
        model["vocab"] = model["vocab"] | {letter: first + i for i, letter in enumerate(letters)}
    else:
        least = min(score for _, score in model["vocab"])
        model["vocab"] = [*model["vocab"], *([letter, least] for letter in letters)]
    return {**tokenizer, "model": model}


def words_of(encoding: Encoding, closed: frozenset[int]) -> Iterator[list[int]]:
    """The pieces of a text, cut where no piece may reach across: at words, and at those that are `closed`."""
    word: list[int] = []
    number = None
    for token, piece, own_number in zip(encoding.ids, encoding.tokens, encoding.word_ids, strict=True):
        if token in closed or own_number != number or piece.startswith(WORD_MARK):
            yield word
            word = []
        number = own_number
        if token not in closed:
            word.append(token)
    yield word


def closed_pieces(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that no new piece may hold: bytes, added tokens, line ends, what is unknown."""
    added = tokenizer.get_added_tokens_decoder()
    model = json.loads(tokenizer.to_str())["model"]
    unknown_pieces = {model.get("unk_token"), WORD_MARK}
    return frozenset(added) | {model.get("unk_id")} | {
        token
        for piece, token in tokenizer.get_vocab(with_added_tokens=False).items()
        if piece in unknown_pieces or (piece.startswith("<0x") and piece.endswith(">")) or any(end in piece for end in BREAKS)
    }  # fmt: skip


def learn_merges(tokenizer: Tokenizer, texts: Sequence[str], count: int) -> list[tuple[str, str]]:
    """The pairs of pieces that the most frequent new ones are made of, in the order in which they are merged."""
    if count <= 0:
        return []
    closed = closed_pieces(tokenizer)

    def lines() -> Iterator[str]:
        for start in range(0, len(texts), BATCH):
            for encoding in tokenizer.encode_batch(texts[start : start + BATCH], add_special_tokens=False):
                for word in words_of(encoding, closed):
                    yield "".join(chr(FIRST_SIGN + token) for token in word)

    signs = Tokenizer(models.BPE())
    signs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = [*filter(None, lines())]
    trainer = trainers.BpeTrainer(
        vocab_size=len(set().union(*words)) + count,
        min_frequency=LEAST_SEEN,
        max_token_length=MOST_PARTS,
        show_progress=False,
    )
    signs.train_from_iterator(words, trainer)
    merges = json.loads(signs.to_str())["model"]["merges"]
    return [(spell(left, tokenizer), spell(right, tokenizer)) for left, right in merges]


def spell(signs: str, tokenizer: Tokenizer) -> str:
    """Signs as the vocabulary spells their pieces."""
    return "".join(tokenizer.id_to_token(ord(sign) - FIRST_SIGN) or "" for sign in signs)


def with_merges(
    tokenizer: Mapping[str, Any], merges: Sequence[tuple[str, str]], first: int
) -> dict[str, Any]:
    """The tokenizer with pieces made by `merges`, from the id `first` on. One that it has keeps its id."""
    model = dict(tokenizer["model"])
    known = piece_ids(tokenizer)
    new = [piece for piece in dict.fromkeys(left + right for left, right in merges) if piece not in known]
    if model["type"] == "BPE":
        lists = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [*lists, *map(list, merges)]
        model["vocab"] = model["vocab"] | {piece: first + i for i, piece in enumerate(new)}
    else:
        scores = dict(map(tuple, model["vocab"]))
        for left, right in merges:
            scores.setdefault(left + right, scores[left] + scores[right] + BONUS)
        model["vocab"] = [*model["vocab"], *([piece, scores[piece]] for piece in new)]
    return {**tokenizer, "model": model}
