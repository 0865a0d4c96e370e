"""An invented run folder: numbers made by rule, for tests of the report and of the comparison of systems."""

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from data.documents import read_object
from data.examples import Example
from eval.systems import evaluate_system, write_comparison, write_json, write_system

HAN = "天地人山水火土木金石"
RATES = {"untouched": 0.95, "translation_memory": 0.7, "warm_start": 0.6, "trained": 0.4}
HOSTILE = '<script>alert("x")</script>|[a](b)'


def invented_examples(count: int) -> list[Example]:
    generator = random.Random(1)
    references = ["".join(generator.choices(HAN, k=generator.randint(4, 16))) for _ in range(count)]
    return [
        Example(
            f"item-{number:03d}",
            f"source {number} {HOSTILE if number % 5 == 0 else ''}",
            reference,
            f"origin{number % 3}",
            "none",
            ("bo", "dz")[number % 2],
            "zh",
        )
        for number, reference in enumerate(references)
    ]


def noisy(references: Sequence[str], rate: float, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [
        "".join(generator.choice(HAN + "a") if generator.random() < rate else character for character in text)
        for text in references
    ]


def character_embed(texts: Sequence[str]) -> torch.Tensor:
    counts = torch.tensor([[float(text.count(character)) for character in HAN] + [0.01] for text in texts])
    return torch.nn.functional.normalize(counts, dim=1)


def length_embed(texts: Sequence[str]) -> torch.Tensor:
    """A second invented encoder: first character and length."""
    rows = torch.tensor(
        [[float(ord(text[0]) % 7) + 1 if text else 0.0, len(text) / 4 + 0.01] for text in texts]
    )
    return torch.nn.functional.normalize(rows, dim=1)


def invented_probes(seed: int) -> dict[str, Any]:
    generator = random.Random(seed)
    texts: list[dict[str, Any]] = [
        {"id": f"t{number}", "bits": 200 + 30 * generator.random(), "characters": 250} for number in range(24)
    ]
    questions: list[dict[str, Any]] = [
        {
            "id": f"q{number}",
            "right": generator.random() < 0.8,
            "right_per_character": generator.random() < 0.7,
        }
        for number in range(100)
    ]
    text = {
        "n": 24,
        "characters": 6000,
        "bits_per_character": sum(row["bits"] for row in texts) / 6000,
        "items": texts,
    }
    shares = {
        key: sum(row[row_key] for row in questions) / 100
        for key, row_key in (("accuracy", "right"), ("accuracy_per_character", "right_per_character"))
    }
    return {
        "english": text,
        "chinese": text,
        **{
            name: {"n": 100, "chance": 0.25, **shares, "items": questions}
            for name in ("capitals", "analogies", "idioms")
        },
        "seconds": 12.5,
    }


def metric_rows(stage: str, steps: int) -> list[dict[str, Any]]:
    generator = random.Random(stage)
    if stage == "sft":
        return [
            {
                "stage": stage,
                "step": step,
                "loss": 4 * math.exp(-step / 20) + 1 + 0.1 * generator.random(),
                "lr": 1e-4,
                "seconds": {"update": 0.5},
            }
            for step in range(steps)
        ]
    return [
        {
            "stage": stage,
            "step": step,
            "reward_mean": 1 + step / steps + 0.1 * generator.random(),
            "cosine_mean": 0.5 + 0.2 * step / steps,
            "cosine_held_out_mean": 0.3 + 0.1 * step / steps,
            "chrf_mean": 0.2 + 0.1 * step / steps,
            "kl_mean": 0.001 * step,
            "length_mean": 12 + generator.random(),
            "cut_share": 0.1 / (1 + step),
            "zero_std_share": 0.05,
            "script_mean": 0.9,
            "seconds": {"rollout": 2.0, "reward": 0.25},
        }
        for step in range(steps)
    ]


def invented_result(
    name: str, examples: Sequence[Example], outputs: Sequence[str], **more: Any
) -> dict[str, Any]:
    """The result of a system by the invented encoders."""
    return evaluate_system(
        name, examples, outputs, embed=character_embed, is_consistent=lambda text, reference: "a" not in text,
        encoder="invented", held_out=length_embed, held_out_encoder="invented too", **more,
    )  # fmt: skip


def change_results(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change each document of a run's evaluation, the comparison too, in place."""
    for path in sorted((run / "eval").glob("*.json")):
        document = read_object(path)
        change(document)
        write_json(path, document)


def write_run(
    folder: Path, count: int = 60, systems: Sequence[str] = tuple(RATES), resamples: int = 100
) -> Path:
    """A complete run folder with invented contents."""
    examples = invented_examples(count)
    for seed, name in enumerate(systems):
        outputs = noisy([example.reference for example in examples], RATES[name], seed)
        result = invented_result(name, examples, outputs)
        write_system(
            folder, result if name == "translation_memory" else {**result, "probes": invented_probes(seed)}
        )
    write_comparison(folder, seed=0, resamples=resamples)
    rows = [*metric_rows("sft", 40), *metric_rows("train", 60 if "trained" in systems else 0)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_json(folder / "config.json", {"seed": 0, "loss": {"kl_coef": 0.02}, "title": HOSTILE})
    write_json(folder / "environment.json", {"torch": "0.0", "cores": 2})
    origins = {
        "origin0": {"read": 800, "dropped": {"duplicate": 20, "empty": 3}, "kept": 777, "licence": "none"},
        "origin1": {"read": 6, "dropped": {}, "kept": 6, "licence": HOSTILE},
    }
    splits = {
        "train": {
            "pairs": 1234,
            "languages": {"bo": 1000, "dz": 234},
            "origins": {"origin0": 611},
            "sha256": "00",
        },
        "warm_start": {"pairs": 321, "languages": {"bo": 321}, "origins": {"origin1": 6}, "sha256": "11"},
    }
    totals = {"read": 806, "dropped": {"duplicate": 20, "empty": 3}, "kept": 783}
    packages = {"some-package": {"file": "some.whl", "sha256": "ab12"}}
    manifest = {
        "tier": "invented",
        "splits": splits,
        "origins": origins,
        "totals": totals,
        "packages": packages,
    }
    write_json(folder / "corpus.json", {"manifest": manifest, "tokens": {"per_syllable": 2.9}})
    write_json(
        folder / "timings.json", {"stages": {"data": 75.0, "train": 3700.0}, "peak_memory_bytes": 3 * 2**30}
    )
    return folder
