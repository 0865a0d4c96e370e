"""Memory does not grow with the number of steps: 300 steps of the tiny model in a process of its own, log and TensorBoard on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tiny import byte_tokenizer
from tiny_session import CONFIG, Session

from grpo.runtime.device import configure

STEPS, WARM = 300, 60


def resident_bytes() -> int:
    """What this process holds in memory now, not at its peak."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watch(folder: Path) -> dict[int, int]:
    """Resident size after each sixtieth step of a run."""
    configure(threads=1)
    config = replace(CONFIG, rollout=replace(CONFIG.rollout, num_prompts=2, group_size=2, max_new_tokens=2))
    session = Session(replace(config, train=replace(config.train, num_steps=STEPS)), folder, byte_tokenizer())
    sizes: dict[int, int] = {}
    session.between = lambda state: sizes.update({state.step: resident_bytes()} if state.step % WARM == 0 else {})
    session.run()
    return sizes


def test_resident_memory_after_300_steps_is_that_after_60(tmp_path: Path) -> None:
    code = f"import json; from pathlib import Path; from test_memory_flat import watch; print(json.dumps(watch(Path({str(tmp_path)!r}))))"
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = {int(step): size for step, size in json.loads(done.stdout.splitlines()[-1]).items()}
    assert sorted(sizes) == list(range(WARM, STEPS + 1, WARM))
    assert sizes[STEPS] < 1.02 * sizes[WARM], sizes
    assert any((tmp_path / "tensorboard").iterdir()) and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == STEPS
