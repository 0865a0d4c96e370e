"""A child that writes a file, and ends well as soon as another one's file is there: two of them must run at once."""

import sys
import time
from pathlib import Path

PATIENCE = 30.0  # seconds

if __name__ == "__main__":
    own, other = map(Path, sys.argv[1:3])
    own.touch()
    print("here", flush=True)
    end = time.monotonic() + PATIENCE
    while not other.exists() and time.monotonic() < end:
        time.sleep(0.02)
    sys.exit(0 if other.exists() else 3)
