"""`python -m benchmarks.metrics`: our scores of learned metrics beside those of the reference packages.

Without options each metric is a tiny random one of the true architecture (benchmarks/tiny_metrics.py). With

    python -m benchmarks.metrics --real comet=CHECKPOINT_FOLDER,BASE_MODEL_FOLDER

it is the real one. Exit code 1 where a score differs by more than LARGEST_GAP.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.tiny_metrics import NAMES, segments, write_checkpoint
from data.errors import InputError, run_command
from reward.learned.convert import convert
from reward.learned.scores import open_scorer

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-metrics" / "bin" / "python"
LARGEST_GAP = 1e-4


def gaps(
    metrics: dict[str, tuple[Path, Path]], rows: list[dict[str, str]], peers: Path, work: Path
) -> dict[str, float]:
    """Name -> largest difference to the reference package over all rows; "_qe": without reference texts."""
    request = work / "request.json"
    request.write_text(
        json.dumps(
            {"segments": rows, "metrics": {name: list(map(str, own)) for name, own in metrics.items()}}
        )
    )
    out = work / "scores.json"
    subprocess.run([peers, ROOT / "benchmarks" / "peer_metrics.py", request, out], check=True, cwd=work)
    theirs = json.loads(out.read_text())
    folders = {name: work / f"our_{name}" for name in metrics}
    for name, (checkpoint, base) in metrics.items():
        convert(checkpoint, base, folders[name])
    sources, outputs, texts = ([row[key] for row in rows] for key in ("src", "mt", "ref"))
    result = {}
    for key, scores in theirs.items():
        references: list[list[str]] = [[] if key.endswith("_qe") else [text] for text in texts]
        scorer = open_scorer(str(folders[key.removesuffix("_qe")]), torch.device("cpu"))
        ours = scorer.scores(sources, outputs, references)
        result[key] = float((ours.double() - torch.tensor(scores, dtype=torch.float64)).abs().max())
        spread = float(torch.tensor(scores).std())
        print(
            f"{key:14} largest difference {result[key]:.1e}, standard deviation of the scores {spread:.3f}",
            flush=True,
        )
    return result


def named_metrics(texts: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """NAME=CHECKPOINT,BASE -> name: checkpoint and base model; a checkpoint alone is its own base.

    >>> named_metrics(["bleurt=a,b"])["bleurt"][1].name
    'b'
    """
    named_folders = dict(text.partition("=")[::2] for text in texts)
    return {
        name: (Path(folders.split(",")[0]), Path(folders.split(",")[-1]))
        for name, folders in named_folders.items()
    }


def run(options: argparse.Namespace) -> int:
    if not Path(options.peers).exists():
        raise InputError(f"{options.peers}: is not there; make bench-metrics makes it")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        metrics = named_metrics(options.real) or {
            name: write_checkpoint(name, work / name, work / "bases") for name in NAMES
        }
        differences = gaps(metrics, segments(options.segments), Path(options.peers), work)
    worst = max(differences, key=lambda name: differences[name])
    print(
        f"{len(differences)} comparisons over {options.segments} segments; the largest difference is {differences[worst]:.1e} ({worst})"
    )
    return int(differences[worst] > LARGEST_GAP)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument(
        "--segments", type=int, default=1000, help="how many random segments (default: %(default)s)"
    )
    parser.add_argument(
        "--peers", default=PEERS, help="Python of the environment with the reference packages"
    )
    parser.add_argument(
        "--real", nargs="*", default=[], metavar="NAME=CHECKPOINT,BASE", help=f"names: {', '.join(NAMES)}"
    )
    options = parser.parse_args(argv)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
