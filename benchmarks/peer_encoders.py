"""What sentence-transformers itself makes of some folders; the tests compare ours with it.

Runs by file name in an environment of its own (`make bench-peers`), imports nothing of this project:

    .venv-peers/bin/python benchmarks/peer_encoders.py REQUEST OUT

REQUEST is a JSON file {"texts": [...], "folders": {name: path}}. OUT/vectors.safetensors gets one
(n, D) tensor of unit rows for each name, and OUT/NAME the folder as this release of the library would save
it.
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer


def main(request_file: str, out: str) -> None:
    """Encode, save the vectors, save the folders again."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    vectors = {}
    for name, folder in request["folders"].items():
        model = SentenceTransformer(folder, device="cpu", local_files_only=True)
        start = time.perf_counter()
        rows = model.encode(
            request["texts"],
            batch_size=5,
            normalize_embeddings=True,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        seconds = time.perf_counter() - start
        vectors[name] = rows.to(torch.float32).contiguous().clone()
        model.save(str(Path(out) / name), create_model_card=False)
        print(f"{name}: {len(rows) / seconds:.0f} texts/s")
    save_file(vectors, Path(out) / "vectors.safetensors")


if __name__ == "__main__":
    torch.manual_seed(0)
    main(*sys.argv[1:])
