"""GRPO with semantic rewards, in pure PyTorch (arXiv 2605.14366).

Importing the package settles three things before anything else is loaded. OpenMP threads wait passively: by
spinning they slow each other down up to tenfold as soon as anything else uses a core. Where the optional
package torchao is installed, transformers imports it, and no command prints its warnings of kernels that are
not used. And the sibling packages, whose names are everyday words, must be ours: a stray `eval.py` or another
distribution's `data/` would shadow them without a word.
"""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

__version__ = "0.1.0"

# Global state, on purpose: these variables are read once, when OpenMP starts, which is when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# the same for what torch prints of a store whose process died, which grpo/runtime/alive.py says in one sentence
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

for _name in ("torchao", "torch.utils._pytree"):  # the second warns of classes of the first
    logging.getLogger(_name).setLevel(logging.ERROR)

COMMAND_NAMES = (
    "-m",
    "semantic-grpo",
)  # sys.argv[0] of `python -m` while it looks for the module, and of the console script


def intruders(root: Path, names: tuple[str, ...] = ("reward", "data", "eval")) -> list[str]:
    """Files that Python would import instead of the packages `names` in `root`."""
    specs = {name: find_spec(name) for name in names}
    places = {name: Path(spec.origin) if spec and spec.origin else None for name, spec in specs.items()}
    return [
        str(place or f"no {name}") for name, place in places.items() if place != root / name / "__init__.py"
    ]


def refuse(sentence: str) -> NoReturn:
    """End a command with one line and exit code 2; raise ImportError where another program imports the
    package.
    """
    if Path((sys.argv or [""])[0]).name in COMMAND_NAMES:
        print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(sentence)


# Raises at import, on purpose: later a stranger's `data` or `eval` would already have been imported.
if _found := intruders(Path(__file__).resolve().parent.parent):
    refuse(
        f"{_found[0]} hides a package of this project; rename it, start from another folder, "
        "or use the command semantic-grpo, which does not look into the working folder"
    )
