"""A configuration from a TOML file and `key=value` overrides.

Unknown keys, values that are not as declared and combinations that cannot work are refused in one sentence,
before a model is loaded.
"""

import dataclasses
import functools
import json
import operator
import tomllib
import typing
from pathlib import Path
from typing import Any

from data.documents import check_settings, read_toml, user_path
from data.errors import InputError
from data.normalise import default_steps
from data.prompt_config import default_template
from data.settings import build, names_below
from data.template import Wording
from grpo.config import Config
from grpo.config_check import check
from grpo.old_names import current_overrides, current_table

COMMAND_LINE = "command line"


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """TOML file and `section.key=value` overrides -> a checked Config. Raises InputError."""
    values = read_current_toml(path)
    for override in current_overrides(overrides, COMMAND_LINE):
        apply_override(values, override)
    check_settings(values, str(path))
    values = current_table(values, COMMAND_LINE)
    config = with_defaults(build_from(values, read_current_toml(path), str(path)), values)
    config = with_home(config)
    check(config)
    return config


def with_home(config: Config) -> Config:
    """The configuration with the user's home in place of `~` in front of the folders of run and model."""
    model = dataclasses.replace(config.model, policy=path_from_home(config.model.policy))
    return dataclasses.replace(config, run_dir=path_from_home(config.run_dir), model=model)


def path_from_home(text: str) -> str:
    """Any other path as it is written: a run folder keeps the spelling."""
    return str(user_path(text)) if text.startswith("~") else text


def read_current_toml(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML file with their names of now. Raises InputError."""
    return current_table(read_toml(Path(path)), str(path))


def with_defaults(config: Config, values: dict[str, Any]) -> Config:
    """The configuration with the defaults that follow from other settings, where `values` have none."""
    if "template" not in values.get("prompt", {}):
        template = defaults_from_others(config)["prompt.template"]
        config = dataclasses.replace(config, prompt=dataclasses.replace(config.prompt, template=template))
    if "normalise" in values.get("data", {}):
        return config
    steps = defaults_from_others(config)["data.normalise"]
    return dataclasses.replace(config, data=dataclasses.replace(config.data, normalise=steps))


def defaults_from_others(config: Config) -> dict[str, Any]:
    """The defaults that follow from other settings, by their full names: the prompt from the languages, and the steps of
    data.normalise from the prompt.
    """
    steps = default_steps(Wording.of(config.prompt).is_one_line)
    return {"prompt.template": default_template(config.data), "data.normalise": steps}


def build_from(values: dict[str, Any], of_file: dict[str, Any], path: str) -> Config:
    """The configuration of `values`. An InputError names the file, or the command line where the file
    `of_file` alone is right.
    """
    try:
        config: Config = build(Config, values, path)
    except InputError as error:
        try:
            build(Config, of_file, path)
        except InputError:
            raise error from None
        raise InputError(f"{COMMAND_LINE}: {str(error).removeprefix(f'{path}: ')}") from error
    return config


def apply_override(values: dict[str, Any], override: str) -> None:
    """Put `a.b=value` into nested `values`; the value is TOML, or else taken as a string."""
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not all([*sections, name]):
        raise InputError(f"override {override!r}: write section.key=value, e.g. train.num_steps=20")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise InputError(f"override {override!r}: {section} is not a section")
    values[name] = override_value(text, key)


def override_value(text: str, key: str) -> Any:
    """One TOML value; what is none, or more than one line of TOML, is a string as it stands."""
    try:
        document = tomllib.loads(f"value = {text}")
    except RecursionError as error:
        raise InputError(f"override {key.strip()}: nested too deeply; write it flatter") from error
    except ValueError:
        return text
    return document["value"] if len(document) == 1 else text


def changed_settings(config: Config) -> dict[str, Any]:
    """The settings that have another value than the default, by their full names."""
    values = dataclasses.asdict(config)
    plain = dataclasses.asdict(Config())
    defaults = {name: value_at(plain, name) for name in names_below(Config)} | defaults_from_others(config)
    return {
        name: value_at(values, name)
        for name, default in defaults.items()
        if value_at(values, name) != default
    }


def value_at(values: dict[str, Any], name: str) -> Any:
    """The value of "section.key" in nested dictionaries."""
    return functools.reduce(operator.getitem, name.split("."), values)


def toml_value(value: Any) -> str:
    """A value as TOML writes it.

    >>> toml_value(("a", "b")), toml_value({"cosine": 1.0}), toml_value(False)
    ('["a", "b"]', '{ cosine = 1.0 }', 'false')
    """
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {toml_value(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if value else "{}"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e-0", "e-") if isinstance(value, float) else text
