"""Says where the general texts and the probes are in languages that a corpus of one's own does not have."""

from collections.abc import Mapping
from typing import Any

from data.config import BUILT_IN
from data.script import primary
from data.sources.headlines import HEADLINES
from data.sources.package_corpus import INTERFACES

LANGUAGES = {"en": "English", "zh": "Chinese"}  # of the built-in general texts and of the probes
SIDES = ("source_language", "target_language")
OWN_TEXTS = "; a tax budget and an anchor can read texts of your own: tax.text=FILE (docs/training.md)"


def foreign_note(settings: Mapping[str, Any]) -> str:
    """A sentence on the languages of the probes that the user's corpus lacks, "" where there is none and for a built-in
    corpus; `settings` is config.json of a run.
    """
    data = settings.get("data", {})
    corpora = data.get("corpora") or {"": {}}
    members = [data | {name: value for name, value in own.items() if value} for own in corpora.values()]
    if any((one.get("train") or one.get("corpus")) in (BUILT_IN, *INTERFACES, *HEADLINES) for one in members):
        return ""
    codes = {primary(one[side]) for one in members for side in SIDES if side in one}
    foreign = [name for code, name in LANGUAGES.items() if code not in codes]
    if not codes or not foreign:
        return ""
    tail = "" if settings.get("tax", {}).get("text") else OWN_TEXTS
    return f"The probes are in English and Chinese, and the corpus has no {' and no '.join(foreign)}{tail}."
