"""What both sides of a comparison have in common: the request, the turns they take, and the reward.

Each side is a process of its own that benchmarks/peers.py starts once and then commands over a pipe, so that
both see the same noise of the machine. Nothing here knows which side it serves.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from data.examples import Example
from grpo.config import Config
from grpo.config_file import load_config
from reward.combine import Reward
from reward.semantic import OF_A_RUN, SemanticReward

Item = TypeVar("Item")
GO = "go"
STOP = "stop"


@dataclass(frozen=True)
class Request:
    """What to do. `task` grpo, warm_start or decoding; `turns` counts the warm-up; `exact` = no token ends a
    completion early; `peer_rows` = completions in one forward pass of the peer."""

    task: str
    config: str
    overrides: tuple[str, ...]
    model: str
    examples: tuple[Example, ...]
    turns: int
    exact: bool
    peer_rows: int

    def settings(self) -> Config:
        return load_config(self.config, self.overrides)


def read_request(line: str) -> Request:
    """The request that `json.dumps(asdict(request))` wrote."""
    values = json.loads(line)
    examples = tuple(
        Example(**{**fields, "others": tuple(fields["others"])}) for fields in values["examples"]
    )
    return Request(**{**values, "overrides": tuple(values["overrides"]), "examples": examples})


@dataclass(frozen=True)
class InOrder(Generic[Item]):
    """Batches of `size` items in their order, those of step 0 first."""

    items: Sequence[Item]
    size: int

    def at(self, step: int) -> Sequence[Item]:
        return self.items[step * self.size : (step + 1) * self.size]


class Connection:
    """A side's connection to the driver: one line of JSON in and one out, whatever libraries print."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.request = read_request(sys.stdin.readline())
        self._started = 0.0

    def ready(self, token_ids: Sequence[Any]) -> None:
        """Everything is loaded. `token_ids`: what will be read, so that the driver can tell that both sides
        read the same.
        """
        self._say({"read": hashlib.sha256(json.dumps(token_ids).encode()).hexdigest()})

    def wait_for_turn(self) -> None:
        """Return when it is this side's turn; at the end report the peak of memory and leave the process."""
        if sys.stdin.readline().strip() != GO:
            self._say({"peak_bytes": peak_resident_bytes()})
            sys.exit(0)
        self._started = time.perf_counter()

    def report(self, **facts: object) -> None:
        """The turn is over: its seconds since `wait_for_turn`, and `facts`."""
        self._say({"seconds": time.perf_counter() - self._started, **facts})

    def _say(self, facts: dict[str, object]) -> None:
        self._answers.write(json.dumps(facts) + "\n")
        self._answers.flush()


def peak_resident_bytes() -> int:
    """VmHWM of this process: everything, the import of torch included."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


def semantic_reward(config: Config, examples: Sequence[Example]) -> Reward:
    """The reward of `config`, judged by the multilingual encoder, without what is computed for the log only;
    both sides call it.
    """
    settings = {name: value for name, value in vars(config.reward).items() if name not in OF_A_RUN}
    texts = [text for example in examples for text in example.references]
    return SemanticReward(config.data.completion_language, texts=texts, **settings | {"shown": ()}).function
