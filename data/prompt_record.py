"""Reads prompt.json beside a policy, without a tokenizer: the wording that it was trained on, and its kinds of examples."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from data.template import Wording

FILE = "prompt.json"
Kind = tuple[str, str, str]  # source language, target language, task of an example


def load_wording(folder: Path) -> Wording:
    """The wording that the policy in a folder was trained on; the plain one where there is no prompt.json, as in
    the folders of earlier versions. Raises InputError for a damaged file.
    """
    path = folder / FILE
    if not path.exists():
        return Wording()
    try:
        values = dict(read_object(path)["wording"])
        shots = tuple(Example(**{**shot, "others": tuple(shot["others"])}) for shot in values.pop("shots"))
        if values.keys() != {field.name for field in fields(Wording)} - {"shots"}:
            raise KeyError(", ".join(values))
        if not all(isinstance(value, str) for value in values.values()):
            raise TypeError("a setting is not text")
        return with_recorded_labels(Wording(**values, shots=shots), read_object(path)["kinds"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is no record of a prompt ({error}); restore the file") from error


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
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return [
            (kind["source_language"], kind["target_language"], kind["task"])
            for kind in read_object(path)["kinds"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: is no record of a prompt ({error}); restore the file") from error


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
