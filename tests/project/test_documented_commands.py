"""Every command, setting and import that a page shows is real: its options are parsed by the command itself, and its
settings are built and checked as for a run.
"""

import argparse
import ast
import configparser
import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from invented_settings import KEYS
from repository import ROOT, python_files

from data.errors import InputError
from data.settings import build
from grpo.command import COMMANDS
from grpo.config import Config
from grpo.config_check import check
from grpo.config_file import apply_override, load_config
from grpo.study.config import Study

PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in ROOT.glob(pattern)
)
PROGRAMS = ("make", "python", "torchrun", "semantic-grpo", ".venv/bin/python")
OTHER_PROGRAMS = (
    "source",
    "cp",
    "sbatch",
    "docker",
    "git",
    "curl",
    "...",
)  # whose options are not ours
SETTING = re.compile(r"[a-z_]+(\.[a-z_0-9]+)+=.+|(seed|run_dir|device|threads)=.+")
STUDY_KEYS = ("arms", "sequence", "transfer", "study_dir")
# an attribute of ours, a method of transformers, a name that a measured commit had
NO_SETTINGS = ("reward.function", "model.generate", "tax.anchor")
OURS = ("grpo", "reward", "data", "eval")
COMMENT = re.compile(r"(^|\s)#.*")


class Block(NamedTuple):
    """A fenced block, its page and the line on which it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class ParsedError(BaseException):
    """Ends a command behind the parsing of its options, which no `except Exception` may catch."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^ *```(\S*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            yield Block(str(page.relative_to(ROOT)), line, match[1], match[2])


BLOCKS = list(blocks())


def commands_of(block: Block) -> list[str]:
    """The commands of a block: lines of a shell, or in a transcript those behind $ and those that begin as ours."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    lines = [line.strip() for line in text.splitlines()]
    if block.language == "bash":
        return join_quotes([line for line in lines if COMMENT.sub("", line)])
    return [line.removeprefix("$ ") for line in lines if line.startswith(("$ ", *PROGRAMS))]


def join_quotes(lines: Sequence[str]) -> list[str]:
    """The lines, one that ends inside quotes together with what follows."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].count("'") % 2:
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined


def inline_commands() -> Iterator[tuple[str, str]]:
    """The commands inside of sentences and tables, but for those of the changelog, which also names old ones."""
    for page in (page for page in PAGES if page.name != "CHANGELOG.md"):
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", prose):
            text = " ".join(code.split())
            if text.startswith(("make ", "pip ", "python -m ", "semantic-grpo ", "torchrun ")):
                yield str(page.relative_to(ROOT)), text


def check_command(command: str) -> None:
    """Fails where the command is not one of the project, or would refuse its options or settings."""
    words = shlex.split(re.split(r" [>|] ", command)[0], comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables of the environment
        del words[0]
    if words[:1] == ["pip"]:
        return check_extras(words)
    if not words or words[0] in OTHER_PROGRAMS or words[0].startswith(OTHER_PROGRAMS):
        return check_settings([word for word in words if SETTING.fullmatch(word)])
    assert words[0] in PROGRAMS, f"{words[0]}: an unknown program"
    if words[0] == "make":
        return check_make(words[1:])
    if words[0] == "semantic-grpo":
        if words[1] in ("--help", "--version", "COMMAND"):
            return None
        assert words[1] in COMMANDS, words[1]
        return check_module(COMMANDS[words[1]][0], words[2:])
    at = words.index("-m") if "-m" in words else 0
    if words[1:2] == ["-c"]:
        ast.parse(words[2])
        return None
    if words[0] == "torchrun" and "--no-python" in words:
        return check_command(shlex.join(words[words.index("--no-python") + 1 :]))
    if words[0] == "torchrun":
        assert at, "torchrun starts a module"
    if not at:
        assert (ROOT / words[1]).is_file(), words[1]
        return None
    if words[at + 1] == "pip":
        return check_extras(words[at + 1 :])
    if words[at + 1] == "pytest":
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), command
        return None
    return check_module(words[at + 1], words[at + 2 :])


def check_extras(words: Sequence[str]) -> None:
    """The extras that pip is to install of this project are those of setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    found = (re.fullmatch(r"(?:\.|semantic-grpo)\[(.*)\]", word) for word in words)
    extras = [name for match in found if match for name in match[1].split(",")]
    assert set(extras) <= set(setup["options.extras_require"]), extras


@cache
def make_targets() -> dict[str, str]:
    """Each target of the Makefile and its recipe."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z-]+):(?!=).*\n((?:\t.*\n)*)", text, re.MULTILINE)
    assert len(found) > 15
    return dict(found)


def used_variables(target: str) -> set[str]:
    """The variables in the recipes of a target and of those that it names as its needs."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = text.replace("$(RUN)", "$(PY) -m grpo.run $(CONFIG)").replace("$(PIP)", "$(PIP_ARGS)")
    rules = re.findall(r"^(\S+):(?!=) *([^#|\n]*).*\n((?:\t.*\n)*)", text, re.MULTILINE)
    needs = {name.replace("$(DONE)", "install"): (needs.split(), recipe) for name, needs, recipe in rules}
    found: set[str] = set()
    names = [target]
    for name in names:
        inner, recipe = needs.get(name.replace("$(DONE)", "install"), ([], ""))
        inner = inner + re.findall(r"\$\(MAKE\) .*?(\S+)$", recipe, re.MULTILINE)
        names += [one for one in inner if one not in names]
        found |= set(re.findall(r"\$\(([A-Z_]+)\)", recipe))
    return found


def check_make(words: Sequence[str]) -> None:
    """Targets and variables are those of the Makefile; a recipe of ours is parsed with what the variables say."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^([A-Z_]+) +\?= ?(.*)$", makefile, re.MULTILINE))
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert set(given) <= set(variables), words
    for target in (word for word in words if "=" not in word):
        assert target in make_targets(), target
        unused = set(given) - used_variables(target)
        assert not unused, f"make {target} does not use {', '.join(sorted(unused))}"
        values = {**variables, **given, "RUN": "python -m grpo.run --config $(CONFIG)", "PY": "python"}
        for line in make_targets()[target].splitlines():
            text = line.strip()
            for name in [*values] * 2:
                text = text.replace(f"$({name})", values[name])
            module = re.fullmatch(r"python -m ((?:grpo|eval|reward|benchmarks)\S*)(.*)", text)
            if module:
                check_module(module[1], shlex.split(module[2]))


def check_module(module: str, arguments: Sequence[str]) -> None:
    """The module parses the arguments by its own parser, and the settings among them are those of a run."""
    if module.split(".")[0] not in (*OURS, "benchmarks"):
        assert module in ("venv", "build", "sphinx", "coverage", "ruff", "mypy"), module
        return
    options = list(arguments)
    if not options or options[-1] in ("--help", "..."):  # the name of a command alone
        assert importlib.util.find_spec(module), module
        return
    parsed = parse(module, options)
    overrides = list(getattr(parsed, "overrides", None) or [])
    config = getattr(parsed, "config", None)
    if module in ("grpo.run", "grpo.evaluate") and config and (ROOT / config).is_file():
        load_config(ROOT / config, overrides)
    elif module in ("grpo.run", "grpo.evaluate"):
        check_settings(overrides)


def parse(module: str, arguments: Sequence[str]) -> argparse.Namespace:
    """What the parser of a module makes of the arguments; the module does nothing else."""

    def stopping(real: Callable[..., argparse.Namespace]) -> Callable[..., NoReturn]:
        def stop(self: argparse.ArgumentParser, *given: Any) -> NoReturn:
            raise ParsedError(real(self, *given))

        return stop

    inner = importlib.util.find_spec(f"{module}.__main__") if is_package(module) else None
    program = importlib.import_module(f"{module}.__main__" if inner else module)
    if not hasattr(program, "main"):
        assert not arguments, f"{module} takes no options, so not {' '.join(arguments)}"
        return argparse.Namespace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [module, *arguments])
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, stopping(getattr(argparse.ArgumentParser, name)))
        try:
            program.main()
        except ParsedError as parsed:
            return parsed.options
        except SystemExit as end:
            pytest.fail(f"{module} {' '.join(arguments)}: refused with exit code {end.code}")
    if arguments:
        pytest.fail(f"{module} takes no options, so not {' '.join(arguments)}")
    return argparse.Namespace()


def check_settings(overrides: Sequence[str]) -> None:
    values: dict[str, Any] = {}
    for override in overrides:
        apply_override(values, override)
    build(Config, values, "page")


def check_toml(text: str) -> None:
    """The names and types of a file's settings, and that they go together; a study's file by its own names."""
    values = tomllib.loads(text)
    if not any(key in values for key in STUDY_KEYS):
        check(build(Config, values, "page"))
        return
    sections = ("arms", "transfer", "sequence")
    build(Study, {key: value for key, value in values.items() if key not in sections}, "page")
    arms = values.get("arms", {})
    lists = [arm.get("settings", []) for arm in arms.values()]
    for settings in [*lists, *values.get("sequence", {}).get("recipes", {}).values()]:
        check_settings(settings)
    for arm in arms.values():
        assert set(arm) <= {"settings", "start", "snapshots", "learning_rates"}, arm


def imports_of(text: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            yield from ((node.module, alias.name) for alias in node.names)


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", [one for one in of("bash", "", "console") if commands_of(one)], ids=str)
def test_commands_of_blocks(block: Block) -> None:
    for command in commands_of(block):
        check_command(command)


def test_commands_inside_of_sentences() -> None:
    found = sorted(set(inline_commands()))
    assert len(found) > 40
    bad = []
    for page, command in found:
        try:
            check_command(command)
        except (AssertionError, InputError, ImportError, ValueError, pytest.fail.Exception) as error:
            bad.append(f"{page}: {command}: {error}")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_settings_of_blocks(block: Block) -> None:
    check_toml(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_imports_of_blocks(block: Block) -> None:
    for module, name in imports_of(block.text):
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_settings_inside_of_sentences() -> None:
    """`section.key`, with a value or without, names a setting, where the section is one."""
    sections = {key.split(".")[0] for key in KEYS if "." in key}
    inner = {key.rsplit(".", 1)[0] for key in KEYS if "." in key}
    tables = ("data.corpora", "data.tests", "reward.settings", "reward.encoders", "reward.weights")
    bad = []
    for page in PAGES:
        for word in re.findall(r"`([a-z_]+\.[a-z_0-9.]+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")):
            section = word.split(".")[0]
            is_setting = word in KEYS or word in inner or word in NO_SETTINGS or word.startswith(tables)
            is_file = Path(word).suffix in (".json", ".jsonl", ".py", ".md", ".toml", ".tsv", ".txt")
            if section in sections and not (is_setting or is_file):
                bad.append(f"{page.relative_to(ROOT)}: {word}")
    bad = [one for one in bad if not is_module(one.split(": ")[1])]
    assert not bad, "\n".join(bad)


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def is_module(name: str) -> bool:
    """Is it a module of the project, or a name in one?"""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file() or path.parent.with_suffix(".py").is_file()


WITH_SETTINGS = {
    "grpo.run": "--stages=report",
    "grpo.evaluate": "--outputs=x.txt",
    "grpo.study": "--arms=grpo",
    "grpo.study.points": "--seeds=1",
    "eval.attacks": "--items=3",
    "benchmarks.step_signal": "--steps=3",
    "benchmarks.reward_per_kl": "--prompts=3",
}


def test_settings_may_stand_on_both_sides_of_an_option() -> None:
    """Past bug: `run --config c eval.probes=false --stages report threads=2` was refused."""
    sources = [path for folder in (*OURS, "benchmarks") for path in python_files(folder, at_least=10)]
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in sources
        if re.search(r'add_argument\(\s*"overrides"', path.read_text(encoding="utf-8"))
    }
    assert found == set(WITH_SETTINGS)
    for module, option in WITH_SETTINGS.items():
        words = ["seed=1", "--config", "c.toml", "device=cpu", *option.split("="), "threads=2"]
        parsed = parse(module, words)
        assert (parsed.config, parsed.overrides) == ("c.toml", ["seed=1", "device=cpu", "threads=2"]), module
        name, value = option.strip("-").split("=")
        assert str(getattr(parsed, name)) == value, module
    assert parse("eval.compare", ["a", "--html", "page.html", "b"]).runs == ["a", "b"]


@pytest.mark.parametrize(
    "command",
    [
        "make trian",
        "make attacks CONFIG=configs/mt.toml",
        "make study CONFIG=configs/mt.toml",
        "make lint ARGS=--fix",
        "pip install -e .[memory]",
        'pip install "semantic-grpo[memory]"',
        "pip install semantic-grpo[gpu,nonsense2]",
        "make train CONFGI=configs/mt.toml",
        'make train ARGS="seeds=1"',
        "python -m grpo.run --config configs/mt.toml --chek",
        "python -m grpo.run --config configs/mt.toml train.num_step=1",
        "semantic-grpo translat x.txt --model runs/mt",
        "semantic-grpo translate x.txt --modl runs/mt",
        "torchrun --nproc-per-node 8 -m grpo.rum --config configs/mt.toml",
        "python -m pip install -e .[nonsense]",
        "pyhton -m grpo.run",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    with pytest.raises((AssertionError, InputError, ImportError, pytest.fail.Exception)):
        check_command(command)


def test_a_wrong_setting_is_found() -> None:
    with pytest.raises(InputError, match=r"unknown key 'train\.num_step'"):
        check_toml("[train]\nnum_step = 1\n")
    with pytest.raises(InputError, match="must be at least 2"):
        check_toml("[rollout]\ngroup_size = 1\n")
