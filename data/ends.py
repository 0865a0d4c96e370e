"""Which tokens of a tokenizer end a completion, and which ones stand for no text.

A line end is looked for in the vocabulary, not by encoding one: a word mark may come before it, and a normaliser may turn it into a space.
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

    stops      what ends a completion: the end token, the end of a turn, then every token whose text holds a line end
    line_ends  those stops whose text holds a line end
    with_text  those line ends whose text begins with something else, as ".\\n"
    spellings  of the tokens that stand for no text, such as "</s>", those that a text cannot hold: they become that token
    """

    stops: tuple[int, ...]
    line_ends: frozenset[int]
    with_text: frozenset[int]
    spellings: tuple[str, ...]


_found: WeakKeyDictionary[PreTrainedTokenizerBase, Ends] = WeakKeyDictionary()


def ends_of(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """The ends of a tokenizer, to which no token is added afterwards: its vocabulary is read once."""
    if tokenizer not in _found:
        _found[tokenizer] = find_ends(tokenizer)
    return _found[tokenizer]


def find_ends(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """The ends of a tokenizer, from its vocabulary."""
    lines = line_ends(tokenizer)
    turn_end = tokenizer.convert_tokens_to_ids(TURN_END)
    turns = [turn_end] if isinstance(turn_end, int) and turn_end >= 0 and turn_end != tokenizer.unk_token_id else []
    return Ends(
        tuple(dict.fromkeys([tokenizer.eos_token_id, *turns, *sorted(lines)])),
        frozenset(lines),
        frozenset(token for token, before in lines.items() if before),
        spellings(tokenizer),
    )


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text alone; what spells a special token in it, as "</s>" does, is text, unless the tokenizer cannot write it so."""
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def spellings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The spellings of special tokens that become that token in any text, as in unigram vocabularies that list it as a piece."""
    special = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    special |= zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True)
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        special.pop(tokenizer.unk_token_id, None)  # what stands for unknown text ends nothing
    if not special:
        return ()
    written = tokenizer(list(special.values()), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return tuple(sorted(spelling for (token, spelling), ids in zip(special.items(), written, strict=True) if token in ids))


def line_ends(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Every token whose text holds a line end, with what stands before the first one as the vocabulary spells it."""
    marks = ("\n", LINE_END_BYTE, LINE_END_LETTER)
    pieces = [(piece, token) for piece, token in tokenizer.get_vocab().items() if any(mark in piece for mark in marks)]
    found = {}
    for piece, token in pieces:
        if "\n" in piece or piece == LINE_END_BYTE:
            found[token] = piece.split("\n")[0].removesuffix(LINE_END_BYTE)
        elif LINE_END_LETTER in piece and "\n" in tokenizer.decode([token]):
            found[token] = piece.split(LINE_END_LETTER)[0]
    return found
