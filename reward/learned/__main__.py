"""`python -m reward.learned CHECKPOINT --base FOLDER --out FOLDER`: makes a metric folder of an official checkpoint.

Also `semantic-grpo metric`. Nothing is downloaded, and no pickled object is made.
"""

import argparse
import sys
from pathlib import Path

from data.arguments import ArgumentParser
from data.documents import user_path
from data.errors import run_command
from data.model_folder import tensor_shapes
from reward.learned.convert import convert


def run(options: argparse.Namespace) -> None:
    out = user_path(options.out)
    facts = convert(user_path(options.checkpoint), user_path(options.base) if options.base else None, out)
    print(f"{out}: a {facts.family} metric, checked against its architecture")
    for path in sorted(out.iterdir()):
        print(f"  {path.name:24} {_description(path)}")


def _description(path: Path) -> str:
    size = f"{path.stat().st_size:,} bytes"
    return f"{size}, {len(tensor_shapes(path)):,} tensors" if path.suffix == ".safetensors" else size


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m reward.learned", description="Make a metric folder of an official checkpoint."
    )
    parser.add_argument("checkpoint", help="folder of the checkpoint: with hparams.yaml, or with config.json")
    parser.add_argument(
        "--base",
        help="folder of the base model: its tokenizer.json, and for COMET its config.json (no weights needed)",
    )
    parser.add_argument("--out", required=True, help="the folder to write")
    options = parser.parse_args(argv)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
