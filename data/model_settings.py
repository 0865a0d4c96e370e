"""Reads the JSON files of a model's folder and checks the types of the values that this project reads. All other settings
are for transformers to judge.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data.documents import read_object
from data.errors import InputError

SHOWN = 60  # characters of a value in a sentence


class Kind(NamedTuple):
    """What a value must be, in words, and whether it is."""

    words: str
    fits: Callable[[Any], bool]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXTS = Kind("a list of texts", _is_texts)
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object {...}", lambda value: isinstance(value, dict))
OBJECTS = Kind(
    "a list of objects {...}",
    lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
)
WHOLE = Kind("a whole number", is_whole)
TOKEN = Kind("the id of a token, a whole number from 0", lambda value: is_whole(value) and value >= 0)
TOKENS = Kind(
    "a list of token ids, whole numbers from 0",
    lambda value: isinstance(value, list) and all(map(TOKEN.fits, value)),
)
ENDS = Kind(  # some folders have null or -1 in them, which is no token
    "the id of a token, or a list of such",
    lambda value: all(
        one is None or is_whole(one) for one in (value if isinstance(value, list) else [value])
    ),
)
MODEL = {  # of config.json and generation_config.json; null stands for no value
    "model_type": TEXT,
    "architectures": TEXTS,
    "eos_token_id": ENDS,
    "vocab_size": WHOLE,
    "max_position_embeddings": WHOLE,
    "is_decoder": TRUTH,
    "is_encoder_decoder": TRUTH,
    "text_config": OBJECT,
}


def check_kinds(place: object, values: Mapping[str, Any], kinds: Mapping[str, Kind], cure: str) -> None:
    """Raises InputError naming file, key, what it must be and the `cure` for a value of another kind."""
    for key, kind in kinds.items():
        if key in values and not kind.fits(values[key]):
            value = json.dumps(values[key], ensure_ascii=False)[:SHOWN]
            raise InputError(f"{place}: {key} = {value}: must be {kind.words}; {cure}")


def model_settings(path: Path) -> dict[str, Any]:
    """The settings of a model; none where the file is absent. Raises InputError."""
    settings = read_object(path) if path.is_file() else {}
    for part in (settings, settings.get("text_config")):
        if isinstance(part, dict):
            there = {key: value for key, value in part.items() if value is not None}
            check_kinds(path, there, MODEL, "restore the file, or download the model again")
    return settings
