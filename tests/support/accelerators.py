"""An accelerator that is a CPU: it captures nothing and runs what it is given."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class PretendAccelerator:
    """`calls` counts what was run aside and what was captured; `free` bytes of memory; `error` ends a capture."""

    free: int = 10**12
    error: Exception | None = None
    fuses: bool = True
    captures: bool = True
    calls: list[str] = field(default_factory=list)

    def free_bytes(self) -> int:
        return self.free

    def aside(self, step: Callable[[], None]) -> None:
        self.calls.append("aside")
        step()

    def new_pool(self) -> str:
        return "pool"

    def capture(self, step: Callable[[], None], pool: object) -> Callable[[], None]:
        assert pool == "pool"
        self.calls.append("capture")
        if self.error:
            raise self.error

        def replay() -> None:
            self.calls.append("replay")
            step()

        return replay
