"""Two made-up systems on the same made-up test items, as the files of an evaluation."""

import json
from pathlib import Path
from typing import Any


def outputs(name: str, texts: list[str], target: str = "zh") -> dict[str, Any]:
    """A document as of `eval.systems.evaluate_system`, as far as a comparison reads it."""
    items = [
        {
            "id": f"item-{number:03d}",
            "source_language": "bo",
            "source": f"ཀ་{number}",
            "reference": f"天{number}",
            "output": text,
        }
        for number, text in enumerate(texts)
    ]
    return {"system": name, "target_language": target, "items": items}


def write_outputs(folder: Path, name: str, texts: list[str]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(outputs(name, texts), ensure_ascii=False), encoding="utf-8")
    return path


def two_files(folder: Path, before: list[str], after: list[str]) -> tuple[Path, Path]:
    return write_outputs(folder, "warm_start", before), write_outputs(folder, "grpo", after)
