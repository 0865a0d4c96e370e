"""Reads the dictionaries of text in a pickle, opcode by opcode: it looks up no class, calls nothing and
expands nothing.

It is not an unpickler: lists, tuples and the objects of known classes become `OPAQUE`, and an opcode that
plain tables do not need is refused.
"""

import io
import pickletools
from collections.abc import Collection
from typing import Any

from data.sources.package_file import FormatError

OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
OPAQUE = object()  # stands for every value without names
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_LIST": OPAQUE, "EMPTY_TUPLE": OPAQUE}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
# name: values it takes
INTO_OPAQUE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "NEWOBJ": 2, "REDUCE": 2, "APPEND": 2, "BUILD": 2}
IGNORED = {"PROTO", "FRAME"}


def load(content: bytes, classes: Collection[tuple[str, str]]) -> object:
    """The pickled value. Raises FormatError for broken bytes, for a class that is not in `classes` and for an
    unknown opcode.
    """
    machine = _Machine(classes)
    file = io.BytesIO(content)
    try:
        while (code := file.read(1)) != b".":
            opcode = OPCODES[code.decode("latin-1")]
            machine.step(opcode.name, opcode.arg.reader(file) if opcode.arg else None)
        return machine.stack.pop()
    except FormatError:
        raise
    except (ValueError, LookupError) as error:
        raise FormatError("is not a whole pickle of plain tables") from error


class _Machine:
    """The stack, its marks and the memo of one pickle."""

    def __init__(self, classes: Collection[tuple[str, str]]) -> None:
        self.classes = classes
        self.stack = list[Any]()
        self.marks = list[int]()
        self.memo = dict[int, Any]()

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        stack = self.stack
        if name in VALUES or name in CONSTANTS:
            stack.append(CONSTANTS.get(name, argument))
        elif name in INTO_OPAQUE:
            self._opaque(INTO_OPAQUE[name])
        elif name in {"BINPUT", "LONG_BINPUT", "MEMOIZE"}:
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in {"TUPLE", "APPENDS"}:
            self._opaque(len(stack) - self.marks.pop() + (name == "APPENDS"))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in {"SETITEM", "SETITEMS"}:
            self._set_items(len(stack) - 2 if name == "SETITEM" else self.marks.pop())
        elif name in {"GLOBAL", "STACK_GLOBAL"}:
            self._class(argument.split(" ") if argument else [stack.pop(-2), stack.pop()])
        elif name not in IGNORED:
            raise FormatError(f"asks for {name}, which no plain table needs")

    def _opaque(self, num_values: int) -> None:
        if not 0 <= num_values <= len(self.stack):
            raise IndexError(num_values)
        self.stack[len(self.stack) - num_values :] = [OPAQUE]

    def _set_items(self, start: int) -> None:
        """Put the pairs behind `start` into the dictionary before it; a key that is neither text nor a number
        is skipped.
        """
        items = self.stack[start:]
        del self.stack[start:]
        table = self.stack[-1]
        if not isinstance(table, dict) or len(items) % 2:
            raise ValueError("items of no dictionary")
        table.update(
            (key, value)
            for key, value in zip(items[::2], items[1::2], strict=True)
            if isinstance(key, str | int | float)
        )

    def _class(self, names: list[Any]) -> None:
        if not all(isinstance(name, str) for name in names) or tuple(names) not in self.classes:
            raise FormatError(
                f"asks for {'.'.join(name for name in names if isinstance(name, str))}, which no plain table needs"
            )
        self.stack.append(OPAQUE)
