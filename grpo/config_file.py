"""A configuration from a TOML file and `key=value` overrides.

Unknown keys, values that are not as declared and combinations that cannot work are refused in one sentence,
before a model is loaded.
"""

import dataclasses
import functools
import json
import operator
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

from data.arguments import nearest
from data.documents import check_settings, read_toml, user_path
from data.errors import InputError
from data.normalise import default_steps
from data.prompt_config import default_template
from data.template import Wording
from grpo.config import Config
from grpo.config_check import check
from grpo.old_names import current_overrides, current_table

# types whose name in TOML is another
TOML_TYPES = {"tuple": 'list, e.g. ["a", "b"]', "dict": "table, e.g. { a = 1.0 }"}
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
        config: Config = build(Config, values, path, "")
    except InputError as error:
        try:
            build(Config, of_file, path, "")
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


def build(kind: Any, values: dict[str, Any], path: str, prefix: str, base: Any = None) -> Any:
    """A dataclass from a dictionary: every key known, every value of the declared type. `base` supplies the
    defaults.
    """
    base = kind() if base is None else base
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in names:
            raise InputError(
                f"{path}: unknown key {key!r}; known keys here: {', '.join(names)}{right_name(key, names, prefix)}"
            )
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise InputError(f"{path}: {key} is a section; write its settings under [{key}]")
            changes[name] = build(hints[name], value, path, f"{key}.", getattr(base, name))
        else:
            changes[name] = setting_value(hints[name], value, path, key)
    return dataclasses.replace(base, **changes)


def right_name(key: str, names: typing.Sequence[str], prefix: str) -> str:
    """The end of the sentence that refuses `key`: the setting that is meant, among `names` behind `prefix` or in another
    section.

    >>> right_name("train.num_step", ["method", "num_steps"], "train.")
    "; did you mean 'train.num_steps'?"
    >>> right_name("train.lr", ["method", "num_steps"], "train.")
    "; did you mean 'train.optim.lr'?"
    """
    last = key.removeprefix(prefix)
    elsewhere = [name for name in names_below(Config) if name.endswith(f".{last}")]
    return nearest(key, elsewhere, 0.0) or nearest(key, [f"{prefix}{name}" for name in names])


def names_below(kind: Any, prefix: str = "") -> typing.Iterator[str]:
    """The full names of the settings of a section and of those in it."""
    hints = typing.get_type_hints(kind)
    for name in (field.name for field in dataclasses.fields(kind)):
        if dataclasses.is_dataclass(hints[name]):
            yield from names_below(hints[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


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


def setting_value(hint: Any, value: Any, path: str, key: str) -> Any:
    """`value` as the declared type: a whole number becomes a float where one is declared, a list becomes a
    tuple, nothing else is converted. A Literal lists all values that there are. Raises InputError.
    """
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if is_union else (hint,)
    for option in options:
        kind = typing.get_origin(option)
        inner = typing.get_args(option)
        if option is Any or (kind is typing.Literal and value in inner):
            return value
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return build(option, value, path, f"{key}.")
        if kind is tuple and isinstance(value, list):
            return tuple(setting_value(inner[0], item, path, f"{key}[{n}]") for n, item in enumerate(value))
        if kind is dict and isinstance(value, dict):
            return {
                name: setting_value(inner[1], item, path, f"{key}.{name}") for name, item in value.items()
            }
        if option in (int, str, bool) and type(value) is option:
            return value
    raise InputError(f"{path}: {key} = {value!r}{remedy(options, value)}")


def remedy(options: typing.Sequence[Any], value: Any) -> str:
    """The end of the sentence that refuses `value`: what may be written instead."""
    choices = [
        choice
        for option in options
        if typing.get_origin(option) is typing.Literal
        for choice in typing.get_args(option)
    ]
    numbers = ", or a number" if float in options else ", or true or false" if bool in options else ""
    if choices:
        shown = [choice or '""' for choice in choices]
        return f": known values are {', '.join(shown)}{numbers}"
    if bool in options:
        return f" is of type {type(value).__name__}; write true or false"
    names = [getattr(option, "__name__", str(option)) for option in options]
    declared = " or ".join(TOML_TYPES.get(name, name) for name in names)
    return f" is of type {type(value).__name__}; write a value of type {declared}"
