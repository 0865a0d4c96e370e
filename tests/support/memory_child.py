"""A run of 300 steps that prints how much memory it held: `python memory_child.py FOLDER`."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from tiny import byte_tokenizer
from tiny_session import CONFIG, Session

from grpo.runtime.device import choose, configure

STEPS = 300
WARM = 60


def resident_bytes() -> int:
    """What this process holds in memory now, not at its peak."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watch(folder: Path) -> dict[int, int]:
    """Resident size after each sixtieth step of a run."""
    configure(choose("cpu"), threads=1)
    config = replace(CONFIG, rollout=replace(CONFIG.rollout, num_prompts=2, group_size=2, max_new_tokens=2))
    session = Session(replace(config, train=replace(config.train, num_steps=STEPS)), folder, byte_tokenizer())
    sizes: dict[int, int] = {}
    session.between = lambda state: sizes.update(
        {state.step: resident_bytes()} if state.step % WARM == 0 else {}
    )
    session.run()
    return sizes


if __name__ == "__main__":
    print(json.dumps(watch(Path(sys.argv[1]))))
