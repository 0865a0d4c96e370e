"""Which collections of texts both an anchor and the tax use: on these the tax is lower than on other text.

The tax is measured on news of two collections (`eval.forgetting.probe_items`). No text of theirs is ever trained on, but
an anchor may read other texts of the same collections.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.sources.general_texts import COLLECTIONS, NEWS

READS_TEXTS = ("shield", "ewc")  # values of [protection]


def shared_words(config: Mapping[str, Any]) -> str:
    """A sentence on the general texts that training by a configuration reads; "" where it reads none."""
    if not reads_general_text(config):
        return ""
    anchor = config.get("anchor", {})
    own = anchor.get("text") or config.get("tax", {}).get("text") or NEWS
    names = [*(anchor.get("sources") or {own: 1.0})]
    news = " and ".join(COLLECTIONS[NEWS])
    if NEWS in names:
        return (
            f"The general texts of training come from {news} too, as those of the tax do; no text is in both. The tax is kind "
            "to such training: read the probes beside it."
        )
    read = ", ".join(part for name in names for part in COLLECTIONS.get(name, (Path(name).name,)))
    return f"The general texts of training ({read}) are of other collections than those of the tax ({news})."


def reads_general_text(config: Mapping[str, Any]) -> bool:
    """Whether an anchor, replay, a protection or recovery reads general texts."""
    weights = [
        config.get(section, {}).get(stage, 0)
        for section in ("anchor", "replay")
        for stage in ("sft", "train")
    ]
    kinds = [config.get("protection", {}).get(stage) for stage in ("sft", "train")]
    return (
        any(weights)
        or any(kind in READS_TEXTS for kind in kinds)
        or config.get("train", {}).get("method") == "recovery"
    )
