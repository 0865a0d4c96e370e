"""The language-consistency term: 1 for a completion in the target script, 0 for a mixed one (arXiv
2605.14366).

The paper does not print its rule. Ours, over Unicode characters; a text is consistent when all of this holds:
1. letters are the characters of category L or M (a Tibetan subjoined letter is a mark) and all Han characters;
   digits, punctuation, symbols and spaces are neutral: they count neither for nor against;
   so are marks and modifier letters that scripts share (accents, the glottal stop): they belong to a letter
   beside them;
2. at least `min_letters` letters of the target script: an empty or letterless completion is inconsistent;
3. no letter of a forbidden script: Tibetan in Chinese, Han in Tibetan;
4. at least `min_share` of the letters in the target script, where a Latin word that also stands in a reference text is neutral
   (product names, "URL"); where Latin is a target script it counts for it, as every Latin word does.
   Words of the source get no such allowance: copying an English source would pass.
Not language identification: it cannot tell Tibetan from Dzongkha, English from Swahili, or sense from
nonsense.
"""

from collections.abc import Sequence
from functools import lru_cache

import regex
from torch import Tensor

from data.script import is_script, is_shared_mark
from reward.rows import References, Texts, per_row

LATIN = "Latn"
FORBIDDEN = {"Hani": "Tibt", "Tibt": "Hani"}
LATIN_WORD = regex.compile(r"\p{Latin}[\p{Latin}\p{Inherited}]*")
LETTER = regex.compile(r"[\p{L}\p{M}\p{Han}]")


@lru_cache(maxsize=65536)
def is_letter(character: str) -> bool:
    """True for a letter, a mark or a Han character, except the marks that scripts share."""
    return bool(LETTER.match(character)) and not is_shared_mark(character)


def is_consistent(
    text: str, script: str, *, reference: str = "", min_share: float = 0.95, min_letters: int = 1
) -> bool:
    """True where `text` is written in `script` (ISO 15924) by the rule above; Latin words of `reference` are
    neutral.

    >>> is_consistent("\u70b9\u51fb URL\u3002", "Hani", reference="URL \u5728\u6b64"), is_consistent("\u70b9\u51fb URL\u3002", "Hani")
    (True, False)
    """
    neutral_words = (
        set() if LATIN in script.split("+") else {word.casefold() for word in LATIN_WORD.findall(reference)}
    )
    rest = LATIN_WORD.sub(lambda word: " " if word[0].casefold() in neutral_words else word[0], text)
    letters = [character for character in rest if is_letter(character)]
    in_script = sum(is_script(character, script) for character in letters)
    forbidden = FORBIDDEN.get(script)
    if forbidden and any(is_script(character, forbidden) for character in letters):
        return False
    return in_script >= max(1, min_letters) and in_script >= min_share * len(letters)


def script(
    sources: Texts, completions: Texts, references: References,
    *, target_script: str, min_share: float = 0.95, min_letters: int = 1,
) -> Tensor:  # fmt: skip
    """Term: 1 where the completion is consistent, with the Latin words of every reference text neutral, else
    0: N rows -> (N,) fp32.
    """

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        reference = " ".join(texts)
        return float(
            is_consistent(
                completion, target_script, reference=reference, min_share=min_share, min_letters=min_letters
            )
        )

    return per_row(score, sources, completions, references, needs_references=False)
