"""A whole run with new pieces: its tokens, its policy as plain transformers reads it, and a hybrid model."""

import json
from pathlib import Path

import pytest
import torch
from model_families import made
from tiny import byte_tokenizer
from tiny_run import arguments, metrics, quick, write_corpus
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")
PIECES = 12


def corpus_of_syllables(folder: Path) -> Path:
    """The made-up pairs turned round: their targets, Tibetan syllables, take three bytes a letter."""
    path = write_corpus(folder / "pairs.tsv")
    header, *rows = path.read_text("utf-8").splitlines()
    turned = ["\t".join(row.split("\t")[::-1]) for row in rows]
    path.write_text("\n".join([header, *turned]) + "\n", encoding="utf-8")
    return path


def test_a_run_with_new_pieces(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random model of 260 tokens pays log(1 + 12 / 260) = 0.045 nats for 12 more: refused, and allowed here."""
    corpus = corpus_of_syllables(tmp_path)
    general = tmp_path / "general.txt"
    general.write_text("The lamp is on the table.\nA dog sleeps.\n" * 4)
    settings = [
        *quick(tiny_folder), f"model.add_pieces={PIECES}", f"tax.text={general}", "data.source_language=zh", "data.target_language=bo",
        "data.normalise=[]",
    ]  # fmt: skip
    settings[settings.index("--stages") + 1] = "data,model,sft,train"
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", *settings)) == 2
    assert "less likely, more than 0.01; try model.add_pieces=6\n" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    monkeypatch.setattr("grpo.stages.pieces.LARGEST_TAX", 0.1)
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", *settings)) == 0
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "run" / "corpus.json").read_text())
    pieces = facts["new_pieces"]
    before, after = pieces["tokens_per_reference_unit"]
    assert pieces["pieces"] == PIECES and after < 0.8 * before
    assert after == facts["tokens"]["tokens_per_reference_unit"]
    assert abs(pieces["tax"]) < 1 and f"{pieces['tax']:+.4f} nats a token on general text" in said
    assert f"new pieces: {PIECES} of model.add_pieces = {PIECES}" in said
    assert f"{before:.2f} -> {after:.2f} tokens a reference unit" in said
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "policy")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "policy")
    assert len(tokenizer) == policy.config.vocab_size == len(byte_tokenizer()) + PIECES
    ids = tokenizer.encode("ཀ་ཁ་ག", add_special_tokens=False)
    assert max(ids) >= len(byte_tokenizer()) and tokenizer.decode(ids) == "ཀ་ཁ་ག"
    assert len(metrics(tmp_path / "run")) == 7


def test_a_run_of_a_hybrid_model(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention and recurrent layers: through every stage, and on to a folder that transformers reads."""
    model = made("Jamba", tmp_path / "model", scale=3.0, max_position_embeddings=512)
    byte_tokenizer().save_pretrained(model)
    settings = quick(model)
    settings[settings.index("--stages") + 1] = "data,model,sft,train"
    assert main(arguments(corpus, model, tmp_path / "run", *settings)) == 0
    said = capsys.readouterr().out
    assert "padded rows and sampler agree with the plain forward pass to" in said
    assert "NOTE: slower than others, as jamba cannot compute packed rows: it has recurrent layers" in said
    rows = [row for row in metrics(tmp_path / "run") if "ratio_gap_mean" in row]
    assert len(rows) == 4 and all(row["ratio_gap_mean"] < 1e-4 for row in rows)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "policy")
    before = AutoModelForCausalLM.from_pretrained(model)
    changed = [not torch.equal(a, b) for a, b in zip(trained.parameters(), before.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2
