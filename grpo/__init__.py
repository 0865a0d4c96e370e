"""GRPO with semantic rewards, in pure PyTorch (arXiv 2605.14366).

Importing the package settles, before torch is loaded, how OpenMP threads wait: by spinning they slow each other down
up to tenfold as soon as anything else uses a core.
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
