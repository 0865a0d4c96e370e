"""A folder that several processes write together; it appears whole or not at all, as that of one process does."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from data.cache import atomic_folder
from data.errors import InputError
from grpo.runtime.parallel import FailedElsewhere, World


@contextmanager
def shared_folder(path: Path, world: World) -> Iterator[Path]:
    """Yield the temporary folder of the first process to every process; it becomes `path` when the block succeeds
    in all of them, and is deleted when it fails in one.

    Every process must make the same exchanges in the block, also where it fails. Where one fails, the others
    raise InputError.
    """
    with ExitStack() as stack:
        errors: list[Exception] = []

        def begin() -> Path | None:
            return stack.enter_context(atomic_folder(path)) if world.is_first else None

        def check() -> None:
            if errors:
                raise errors[0]

        def agree() -> None:
            world.wait()  # however long one of them has worked
            world.together(check)

        try:
            work = from_first(world.together(begin), world)
            try:
                yield work
            except Exception as raised:
                errors.append(raised)
            agree()
            try:
                stack.close()  # flushes and renames; only the first process has something to close
            except Exception as raised:
                errors.append(raised)
            agree()
        except FailedElsewhere as failure:
            raise InputError(f"{path}: {failure}") from failure


def from_first(value: Any, world: World) -> Any:
    """The value that the first process has, in every process."""
    if world.size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather_in_first(value: Any, world: World) -> list[Any]:
    """The values of all processes in the first, in order of rank; nothing in the others."""
    if world.size == 1:
        return [value]
    values = [None] * world.size if world.is_first else None
    dist.gather_object(value, values, dst=0)
    return values or []
