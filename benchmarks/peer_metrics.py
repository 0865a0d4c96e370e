"""What unbabel-comet, BLEURT and mT5 themselves make of some metrics; `benchmarks.metrics` compares ours with it.

Runs by file name in an environment of its own (`make bench-metrics`), imports nothing of this project:

    .venv-metrics/bin/python benchmarks/peer_metrics.py REQUEST OUT

REQUEST is a JSON file {"segments": [{"src", "mt", "ref"}, ...], "metrics": {name: [checkpoint folder, base folder]}}.
OUT gets {name: [score, ...]}; "NAME_qe" is without the reference texts.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import MT5ForConditionalGeneration, PreTrainedTokenizerFast

SCORE_TOKEN = 250089
MOST_TOKENS = 1536
Rows = list[dict[str, str]]
Scores = dict[str, list[float]]


def main(request_file: str, out: str) -> None:
    """Score all, write."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    scores: Scores = {}
    for name, (folder, base) in request["metrics"].items():
        score = {"metricx": score_metricx, "bleurt": score_bleurt}.get(name, score_comet)
        scores |= score(name, Path(folder), base, request["segments"])
    Path(out).write_text(json.dumps(scores), encoding="utf-8")


def score_comet(name: str, folder: Path, base: str, segments: Rows) -> Scores:
    """By the package's own `predict`."""
    from comet import load_from_checkpoint

    model = load_from_checkpoint(str(folder / "checkpoints" / "model.ckpt"), local_files_only=True)
    bare = [{"src": one["src"], "mt": one["mt"]} for one in segments]
    both = {name: segments, f"{name}_qe": bare}
    runs = {"cometkiwi": {name: bare}, "unite": both, "xcomet": both}.get(name, {name: segments})
    return {
        key: model.predict(items, batch_size=7, gpus=0, progress_bar=False, num_workers=0).scores
        for key, items in runs.items()
    }


def score_bleurt(name: str, folder: Path, base: str, segments: Rows) -> Scores:
    """By the model of bleurt-pytorch, each segment alone; the longer text is cut first, as BLEURT does."""
    from bleurt_pytorch import BleurtForSequenceClassification

    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = BleurtForSequenceClassification.from_pretrained(folder, use_safetensors=False).eval()
    begin, end = tokenizer("")["input_ids"]
    scores = []
    for one in segments:
        first, second = (tokenizer(one[key])["input_ids"][1:-1] for key in ("ref", "mt"))
        while len(first) + len(second) + 3 > model.config.max_position_embeddings:
            (first if len(first) > len(second) else second).pop()
        ids = torch.tensor([[begin, *first, end, *second, end]])
        kinds = torch.tensor([[0] * (len(first) + 2) + [1] * (len(second) + 1)])
        with torch.no_grad():
            scores.append(
                model(input_ids=ids, token_type_ids=kinds, attention_mask=torch.ones_like(ids)).logits.item()
            )
    return {name: scores}


def score_metricx(name: str, folder: Path, base: str, segments: Rows) -> Scores:
    """By the steps of the published predictions with mT5's own class, as their code is in no package."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = MT5ForConditionalGeneration.from_pretrained(folder, use_safetensors=False).eval()
    scores: Scores = {name: [], f"{name}_qe": []}
    for one in segments:
        text = "source: " + one["src"] + " candidate: " + one["mt"]
        for key, more in ((name, " reference: " + one["ref"]), (f"{name}_qe", "")):
            ids = tokenizer(text + more, truncation=True, max_length=MOST_TOKENS)["input_ids"][:-1]
            with torch.no_grad():
                logits = model(
                    input_ids=torch.tensor([ids]), decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)
                ).logits
            scores[key].append(logits[0, 0, SCORE_TOKEN].clamp(0, 25).item())
    return scores


if __name__ == "__main__":
    main(*sys.argv[1:])
