"""A folder that several processes write together; it appears whole or not at all, as that of one process does."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
            works = world.merge({world.rank: str(world.together(begin))})
            try:
                yield Path(works[0])
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
