"""The arguments of a command: what is wrong with them is said in one line, with the nearest right word."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from data.errors import one_line

SETTING = re.compile(r"--([a-z_]+(?:\.[a-z_0-9]+)+=\S*)")  # written as if it were an option


def nearest(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """The end of a sentence that refuses `word`: the known word that is most like it, by `least` of
    difflib's ratio.

    >>> nearest("trian", ["sft", "train"])
    "; did you mean 'train'?"
    >>> nearest("x", ["sft", "train"])
    ''
    """
    found = get_close_matches(word, list(known), n=1, cutoff=least)
    return f"; did you mean {found[0]!r}?" if found else ""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser with refusals of one line; settings and names may stand on both sides of an option."""

    words: Sequence[str] = ()  # of the command line

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does it, in any order; a command of commands is in its own order."""
        self.words = [*(sys.argv[1:] if args is None else args)]
        if any(action.nargs == argparse.PARSER for action in self._actions):
            return super().parse_args(args, namespace)
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line: the message, and what to write instead."""
        setting = SETTING.search(message)
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        hint = f"; {self.prog} --help lists the options"
        if setting:
            hint = f"; a setting has no dashes: {setting[1]}"
        elif message.endswith("required: --config") and (files := self._toml_words()):
            hint = f"; write --config {files[0]}"
        elif unknown and (found := nearest(unknown[1].partition("=")[0], self._option_string_actions)):
            hint = found
        self.exit(2, f"error: {one_line(message + hint)}\n")

    def _toml_words(self) -> list[str]:
        """The words of the command line that name a file of settings."""
        return [word for word in self.words if word.endswith(".toml") and not word.startswith("-")]
