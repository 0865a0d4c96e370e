"""Finds which tokens of a tokenizer end a completion, and which special tokens no text can contain.

A line end is searched in the vocabulary, not by encoding one: a tokenizer may put a word mark before it or
normalise it to a space.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

TURN_END = "<end_of_turn>"
LINE_END_BYTE = "<0x0A>"  # as byte fallback spells it
LINE_END_LETTER = "\u010a"  # as byte-level BPE spells it; in other vocabularies a letter of Maltese


@dataclass(frozen=True)
class Ends:
    """Token ids of one tokenizer.

    stops      what ends a completion: end token, end of a turn, every token whose text holds a line end
    line_ends  those stops whose text holds a line end
    with_text  those line ends whose text begins with something else, as ".\\n"
    spellings  of special tokens, such as "</s>", those that no text can hold: they become that token
    """

    stops: tuple[int, ...]
    line_ends: frozenset[int]
    with_text: frozenset[int]
    spellings: tuple[str, ...]


_ends_of_tokenizer: WeakKeyDictionary[PreTrainedTokenizerBase, Ends] = WeakKeyDictionary()


def ends_of(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """The ends of a tokenizer, cached: its vocabulary must not change afterwards."""
    if tokenizer not in _ends_of_tokenizer:
        _ends_of_tokenizer[tokenizer] = find_ends(tokenizer)
    return _ends_of_tokenizer[tokenizer]


def find_ends(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """Find the ends of a tokenizer in its vocabulary."""
    lines = line_ends(tokenizer)
    turn_end = tokenizer.convert_tokens_to_ids(TURN_END)
    turns = [turn_end] if isinstance(turn_end, int) and turn_end not in (-1, tokenizer.unk_token_id) else []
    return Ends(
        tuple(dict.fromkeys([tokenizer.eos_token_id, *turns, *sorted(lines)])),
        frozenset(lines),
        frozenset(token for token, before in lines.items() if before),
        spellings(tokenizer),
    )


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text alone. The spelling of a special token counts as text where the tokenizer can
    encode it so.
    """
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def spellings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The spellings of special tokens that no text can contain, as where a unigram vocabulary lists them."""
    special = {
        token: str(token_text)
        for token, token_text in tokenizer.added_tokens_decoder.items()
        if token_text.special
    }
    special |= zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True)
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        special.pop(tokenizer.unk_token_id, None)  # the token of unknown text ends nothing
    if not special:
        return ()
    encodings = tokenizer(list(special.values()), add_special_tokens=False, split_special_tokens=True)
    rows = zip(special.items(), encodings["input_ids"], strict=True)
    return tuple(sorted(spelling for (token, spelling), ids in rows if token in ids))


def line_ends(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Every token whose text holds a line end -> the spelling before the first line end."""
    ends = {}
    for piece, token in tokenizer.get_vocab().items():
        if "\n" in piece:
            ends[token] = piece.split("\n")[0]
        elif piece == LINE_END_BYTE:
            ends[token] = ""
        elif LINE_END_LETTER in piece and "\n" in tokenizer.decode([token]):
            ends[token] = piece.split(LINE_END_LETTER)[0]
    return ends
