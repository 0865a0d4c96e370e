"""A child of `grpo.study.children.run_child` that asks its parent to stop, and ends only when the parent has
asked it in turn.
"""

import os
import signal
import sys


def save(number: int, frame: object) -> None:
    print("saved", flush=True)
    sys.exit(128 + number)


if __name__ == "__main__":
    asked = signal.Signals[sys.argv[1]]
    signal.signal(asked, save)
    print("working", flush=True)
    os.kill(os.getppid(), asked)
    signal.pause()
