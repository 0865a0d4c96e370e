"""Made-up Tibetan-script texts with made-up Chinese and English ones, and a teacher that needs no weights.
Nobody's text.
"""

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from reward.distil.corpus import Item

SYLLABLES = [a + b + c for a in "ཀཁགངཅཆཇཉཏཐ" for b in ("", "ི", "ུ", "ེ", "ོ") for c in ("", "ན", "ག")]
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光"


def invented_items(count: int, seed: int = 0, *, kinds: str = "zh en") -> list[Item]:
    """Items whose three sides are word-by-word codes of the same random numbers, so that there is something
    to learn.
    """
    draw = random.Random(seed)
    return [
        invented_item([draw.randrange(len(SYLLABLES)) for _ in range(draw.randint(4, 9))], kinds)
        for _ in range(count)
    ]


def invented_item(meaning: Sequence[int], kinds: str = "zh en") -> Item:
    """The item that says `meaning`, one syllable, two Han characters and one English word a number."""
    tibetan = "་".join(SYLLABLES[number] for number in meaning) + "།"
    chinese = "".join(HAN[number % 50] + HAN[50 + number // 50] for number in meaning)
    letters = str.maketrans("0123456789", "ghijklmnop")
    english = " ".join(
        hashlib.sha256(bytes([number])).hexdigest()[:6].translate(letters) for number in meaning
    )
    return Item(
        tibetan,
        "dz",
        (chinese,) if "zh" in kinds else (),
        (english,) if "en" in kinds else (),
        "invented",
        "nobody's",
    )


class LetterTeacher:
    """Stands in for the real teacher: the sum of one fixed random vector a word (or pair of Han characters),
    at unit length.
    """

    dim = 512
    fingerprint = "letters"

    def __init__(self) -> None:
        self.num_encoded = 0

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 512)."""
        self.num_encoded += len(texts)
        rows = [torch.stack([_vector(word) for word in _words(text)]).sum(dim=0) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1) if rows else torch.empty(0, self.dim)


def _words(text: str) -> list[str]:
    """The Chinese code of a number and its English one are different words here: only what is learnt can join
    them.
    """
    return (
        text.split()
        if " " in text
        else [text[start : start + 2] for start in range(0, len(text), 2)] or ["nothing"]
    )


def _vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(512, generator=torch.Generator().manual_seed(seed))
