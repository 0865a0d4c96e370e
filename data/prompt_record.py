"""Reads prompt.json beside a policy, without a tokenizer: the wording that it was trained on, and its kinds of examples."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from data.model_settings import OBJECT, OBJECTS, TEXT, TEXTS, TOKEN, TOKENS, TRUTH, WHOLE, check_kinds
from data.normalise import NAMES
from data.template import Wording

FILE = "prompt.json"
FORMAT = 1
CURE = "restore the file"
KINDS = {
    "format": WHOLE, "wording": OBJECT, "kinds": OBJECTS, "end": TOKEN, "stops": TOKENS, "servers_ask_rightly": TRUTH,
    "normalise": TEXTS,
}  # fmt: skip
KIND = dict.fromkeys(
    ("source_language", "target_language", "task", "source_label", "target_label", "prompt"), TEXT
)
SHOT = {field.name: TEXTS if field.name == "others" else TEXT for field in fields(Example)}
Kind = tuple[str, str, str]  # source language, target language, task of an example


def read_record(folder: Path, needs: Iterable[str] = ()) -> dict[str, Any]:
    """What prompt.json says, each value of its type; {} where there is none. Raises InputError for a damaged file, one of
    a later version, and one without a key that the caller `needs`.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    facts = read_object(path)
    check_kinds(path, facts, KINDS, CURE)
    for kind in facts.get("kinds", ()):
        check_kinds(f"{path}: kinds", kind, KIND, CURE)
    if facts.get("format", FORMAT) != FORMAT:
        raise InputError(
            f"{path}: format = {facts['format']}, and this version reads format {FORMAT}; use the version that wrote it"
        )
    if unknown := [step for step in facts.get("normalise", ()) if step not in NAMES]:
        raise InputError(
            f"{path}: normalise: {', '.join(unknown)} is no step; known steps: {', '.join(NAMES)}"
        )
    for key in needs:
        if key not in facts:
            raise InputError(f"{path}: is no record of a prompt (it lacks {key!r}); {CURE}")
    return facts


def load_wording(folder: Path) -> Wording:
    """The wording that the policy in a folder was trained on; the plain one where there is no prompt.json, as in
    the folders of earlier versions. Raises InputError for a damaged file.
    """
    path = folder / FILE
    facts = read_record(folder, ("wording", "kinds"))
    if not facts:
        return Wording()
    try:
        values = dict(facts["wording"])
        for shot in values["shots"]:
            check_kinds(f"{path}: shots", dict(shot), SHOT, CURE)
        shots = tuple(Example(**{**shot, "others": tuple(shot["others"])}) for shot in values.pop("shots"))
        if values.keys() != {field.name for field in fields(Wording)} - {"shots"}:
            raise KeyError(", ".join(values))
        if not all(isinstance(value, str) for value in values.values()):
            raise TypeError("a setting is not text")
        return with_recorded_labels(Wording(**values, shots=shots), facts["kinds"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is no record of a prompt ({error}); {CURE}") from error


def with_recorded_labels(wording: Wording, kinds: list[dict[str, Any]]) -> Wording:
    """The wording with the names of the languages that prompt.json records, where this version would say others. Several
    kinds have no names of their own in a wording.
    """
    if len(kinds) != 1 or wording.source_label or wording.target_label:
        return wording
    recorded = kinds[0].get("source_label", ""), kinds[0].get("target_label", "")
    names = wording.labels(kinds[0]["source_language"], kinds[0]["target_language"])
    own = ["" if one == name else one for one, name in zip(recorded, names, strict=True)]
    return replace(wording, source_label=own[0], target_label=own[1])


def load_kinds(folder: Path) -> list[Kind]:
    """The kinds of examples that the policy in a folder was trained on; none where there is no prompt.json. Raises
    InputError for a damaged file.
    """
    try:
        return [
            (kind["source_language"], kind["target_language"], kind["task"])
            for kind in read_record(folder, ("kinds",)).get("kinds", ())
        ]
    except KeyError as error:
        raise InputError(f"{folder / FILE}: is no record of a prompt ({error}); {CURE}") from error


def check_wording(folder: Path, wording: Wording) -> None:
    """InputError where the policy in a folder was trained on another wording."""
    before = asdict(load_wording(folder))
    for name, value in asdict(wording).items():
        if value != before[name]:
            shown = (
                (f"{len(before[name])} examples", f"{len(value)} others")
                if name == "shots"
                else (repr(before[name]), repr(value))
            )
            raise InputError(
                f"{folder}: was trained with prompt.{name} = {shown[0]}, not {shown[1]}; restore that value, or "
                "write run_dir=runs/another"
            )


def check_chat(folder: Path, wording: Wording) -> None:
    """InputError where a chat begins from a policy that was trained on a text: the chat template beside it asks in that
    text, whatever the messages are.
    """
    if not (wording.is_chat and load_kinds(folder)):
        return
    before = load_wording(folder)
    if not before.is_chat:
        raise InputError(
            f'prompt.template="chat": {folder} was trained with prompt.template = {before.template!r}, and its chat template only '
            f"writes that prompt; write prompt.template={json.dumps(before.template, ensure_ascii=False)}, or put another chat "
            f"template into that folder and remove its {FILE}"
        )
