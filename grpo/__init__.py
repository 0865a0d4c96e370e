"""GRPO with semantic rewards, in pure PyTorch (arXiv 2605.14366).

Importing the package settles three things before anything else is loaded. OpenMP threads wait passively: by
spinning they slow each other down up to tenfold as soon as anything else uses a core. Where the optional
package torchao is installed, transformers imports it, and no command prints its warnings of kernels that are
not used. And the sibling packages, whose names are everyday words, must be ours: a stray `eval.py` or another
distribution's `data/` would shadow them without a word.

The names at the end are imported when they are first used (docs/library.md).
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

__version__ = "0.1.0"

# Global state, on purpose: these variables are read once, when OpenMP starts, which is when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# the same for what torch prints of a store whose process died, which grpo/runtime/alive.py says in one sentence
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

for _name in ("torchao", "torch.utils._pytree"):  # the second warns of classes of the first
    logging.getLogger(_name).setLevel(logging.ERROR)

# sys.argv[0] of `python -m` while it looks for the module, and of the console script
COMMAND_NAMES = ("-m", "semantic-grpo")


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

OLDEST = {"torch": "2.11", "transformers": "5.17"}  # as in setup.cfg


def old_packages(oldest: Mapping[str, str]) -> list[str]:
    """The packages that are missing or older than a "major.minor", each with what is there."""
    found = {name: version(name) if find_spec(name) else "none" for name in oldest}
    numbers = {name: [int(part) for part in re.findall(r"\d+", text)[:2]] for name, text in found.items()}
    least = {name: [int(part) for part in text.split(".")] for name, text in oldest.items()}
    return [
        f"{name} {text} or newer (found: {found[name]})"
        for name, text in oldest.items()
        if numbers[name] < least[name]
    ]


if sys.version_info < (3, 11):  # noqa: UP036  (pip is not always asked)
    refuse(
        f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; type: make PYTHON=python3.11 install"
    )
if _old := old_packages(OLDEST):
    refuse(f"{' and '.join(_old)} is needed; type: make install, or pip install --upgrade {' '.join(OLDEST)}")

if TYPE_CHECKING:
    from grpo.advantage import group_advantages as group_advantages
    from grpo.advantage import group_spread as group_spread
    from grpo.config import Config as Config
    from grpo.config_file import load_config as load_config
    from grpo.engine.draw import Sampling as Sampling
    from grpo.engine.logprob import completion_logps as completion_logps
    from grpo.engine.model import load_policy as load_policy
    from grpo.engine.model import load_tokenizer as load_tokenizer
    from grpo.engine.packing import pack as pack
    from grpo.engine.sampler import generate as generate
    from grpo.kl import full_kl as full_kl
    from grpo.kl import kl_k1 as kl_k1
    from grpo.kl import kl_k2 as kl_k2
    from grpo.kl import kl_k3 as kl_k3
    from grpo.kl import kl_term as kl_term
    from grpo.loss import Bounds as Bounds
    from grpo.loss import grpo_loss as grpo_loss
    from grpo.loss import sampler_weights as sampler_weights
    from grpo.loss import token_weights as token_weights
    from grpo.records import Rollout as Rollout
else:
    MODULES = {
        "grpo.advantage": "group_advantages group_spread",
        "grpo.config": "Config",
        "grpo.config_file": "load_config",
        "grpo.engine.draw": "Sampling",
        "grpo.engine.logprob": "completion_logps",
        "grpo.engine.model": "load_policy load_tokenizer",
        "grpo.engine.packing": "pack",
        "grpo.engine.sampler": "generate",
        "grpo.kl": "full_kl kl_k1 kl_k2 kl_k3 kl_term",
        "grpo.loss": "Bounds grpo_loss sampler_weights token_weights",
        "grpo.records": "Rollout",
    }

    def __getattr__(name: str) -> Any:
        """One of the names above, or `__all__`; nothing of the project is imported before."""
        from data.lazy import find, names_of

        return names_of(MODULES) if name == "__all__" else find(__name__, MODULES, name)
