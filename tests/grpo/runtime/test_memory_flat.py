"""Memory does not grow with the number of steps: 300 steps of the tiny model in a process of its own, log and
TensorBoard on.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from memory_child import STEPS, WARM
from repository import CHILD_PATH, SUPPORT


def test_resident_memory_after_300_steps_is_that_after_60(tmp_path: Path) -> None:
    command = [sys.executable, str(SUPPORT / "memory_child.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | CHILD_PATH, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = {int(step): size for step, size in json.loads(done.stdout.splitlines()[-1]).items()}
    assert sorted(sizes) == list(range(WARM, STEPS + 1, WARM))
    assert sizes[STEPS] < 1.02 * sizes[WARM], sizes
    assert (
        any((tmp_path / "tensorboard").iterdir())
        and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == STEPS
    )
