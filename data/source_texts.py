"""Prompts without reference texts: a file of source texts, which join the part `train`.

They suit a reward none of whose terms needs a reference text (`reward.terms`). A text that is a near-duplicate of
a dev or test pair is dropped, as a pair would be.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from data.clean import DAMAGED, MIN_SOURCE_SHARE, NOT_IN, Limits, Tally, clean_as_read, source_key
from data.config import DataConfig
from data.documents import LARGEST, user_path
from data.errors import InputError
from data.examples import Example
from data.key_table import KeyTable
from data.limits import limits_of
from data.manifest import by_reason
from data.own_sets import OwnSet
from data.records import Store
from data.script import count_units, script_name, script_of, script_share
from data.sources.file_lines import file_lines
from data.sources.json_lines import text_field
from data.sources.line import BadLineError, check_one_line, decode_line
from data.sources.packed_file import kind_of
from data.sources.user_file import LICENCE, ORIGIN

PROMPTS = "prompts"
KINDS = (".txt", ".jsonl")


def source_texts_path(config: DataConfig) -> Path:
    """The file of prompts. Raises InputError where there is none, or of another kind."""
    path = user_path(config.prompts)
    if not path.is_file() or kind_of(path) not in KINDS:
        cause = "is not a file" if not path.is_file() else "is of an unknown kind"
        raise InputError(f"data.prompts: {path} {cause}; give a {' or '.join(KINDS)} file, one text a line")
    return path


def read_source_texts(config: DataConfig, limits: Limits, folder: Path) -> OwnSet:
    """The prompts, cleaned, in a file of `folder`, each text once; a limit of 0 becomes that of the file. Raises
    InputError where too many are bad.
    """
    path = source_texts_path(config)
    of_any_reference = replace(limits, max_target=LARGEST)
    limits, remarks = limits_of(of_any_reference, _examples(path, config), f"data.{PROMPTS}")
    store = Store(folder / PROMPTS)
    tally = Tally(store)
    table = KeyTable()
    for example in _examples(path, config):
        tally.num_read[ORIGIN] += 1
        key = hash(source_key(example))
        is_known = any(store[place].source == example.source for place in table.positions_of(key))
        reason = "duplicate" if is_known else _problem(example, limits)
        if reason:
            tally.drop(example, reason)
        else:
            table.add(key, len(store))
            tally.keep(example)
    bad = {
        reason: tally.num_dropped[reason] for reason in tally.num_dropped if reason in BAD or NOT_IN in reason
    }
    if not len(store) or sum(bad.values()) > config.max_bad_share * tally.num_read.total():
        raise InputError(
            f"data.prompts={config.prompts}: of {tally.num_read.total()} texts {len(store)} can be used "
            f"({by_reason([(reason, reason) for reason, count in tally.num_dropped.items() for _ in range(count)])}), and at most "
            f"data.max_bad_share={config.max_bad_share} may be bad"
        )
    return OwnSet(PROMPTS, store, tally, remarks)


EMPTY = "empty"
DAMAGE = "damaged characters"
BAD = (EMPTY, DAMAGE)


def _examples(path: Path, config: DataConfig) -> Iterator[Example]:
    """The texts of the lines that are not blank, without a reference text; a line that is no text is empty."""
    source_language = config.column_languages[1 if config.reverse else 0]
    for number, line in enumerate(file_lines(path), start=1):
        if line.strip():
            text = _text(line, path, str(config.source_column))
            yield Example(
                f"{path}:{number}",
                clean_as_read(text, config.normalise, source_language),
                "",
                ORIGIN,
                LICENCE,
                source_language,
                config.completion_language,
                config.example_task,
            )


def _text(line: bytes, path: Path, column: str) -> str:
    """The text of a line; "" where it has none."""
    try:
        return text_field(line, column) if kind_of(path) == ".jsonl" else check_one_line(decode_line(line))
    except BadLineError:
        return ""


def _problem(example: Example, limits: Limits) -> str:
    """Why a text is no prompt, or ""."""
    if not example.source:
        return EMPTY
    if DAMAGED.search(example.source):
        return DAMAGE
    script = script_of(example.source_language)
    if script is not None and script_share(example.source, script) < MIN_SOURCE_SHARE:
        return f"source{NOT_IN}{script_name(script)} script"
    return limits.problem(count_units(example.source, script), limits.min_target)
