"""The reward that `init` suggests: one term of meaning or form, times six gates of which each closes an attack.

    cosine x script x length_fit x unrepeated x uncopied x order x markers      where the encoder knows the language
    chrF   x the same gates                                                    where it does not

With it none of the fifteen attacks of `reward.attacks` earns more than 60 % of what the reference text earns, on
average over the paragraphs of each language in docs/results/attacks.md. Which languages the built-in encoder knows decides the term; the
gates are the same in every script. The defaults of section [reward] stay as they were: four gates.
"""

from typing import Any

from data.script import primary

# of the built-in encoder "use"
ENCODER_LANGUAGES = ("ar", "zh", "en", "fr", "de", "it", "ja", "ko", "nl", "pl", "pt", "es", "th", "tr", "ru")
COMPOSITE_GATES = ("script", "length_fit", "unrepeated", "uncopied", "order", "markers")
COMPOSITE_SETTINGS: dict[str, dict[str, Any]] = {"length_fit": {"alpha": 1.2}}  # half a text: at most 49 %


def is_known_to_use(language: str) -> bool:
    """Whether the built-in encoder "use" knows a language, any code of BCP 47."""
    return primary(language) in ENCODER_LANGUAGES


def composite(language: str, has_encoder: bool = False) -> dict[str, Any]:
    """Settings of section [reward] for completions in `language`; `has_encoder`: with an encoder that knows it.

    >>> composite("sw")["weights"], composite("es")["weights"]
    ({'chrf': 1.0}, {'cosine': 1.0})
    """
    term = "cosine" if has_encoder or is_known_to_use(language) else "chrf"
    return {"weights": {term: 1.0}, "gates": COMPOSITE_GATES, "settings": COMPOSITE_SETTINGS}
