"""A finished run whose policy was damaged since: the same command says so in one sentence, whatever the damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import outcome
from tiny_run import arguments, quick, write_corpus

from grpo.run import main

Damage = Callable[[Path], object]


def change(**settings: object) -> Damage:
    def write(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return write


def cut(count: int) -> Damage:
    return lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:count]
    )


def of_another_model(folder: Path) -> None:
    """Half of the rows of one tensor."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = min(name for name, tensor in tensors.items() if tensor.dim() == 2)
    save_file({**tensors, name: tensors[name][::2].contiguous()}, path)


def in_parts(folder: Path) -> None:
    """Weights in parts, of which one is missing."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


DAMAGE: dict[str, tuple[Damage, str]] = {
    "no weights": (lambda at: (at / "model.safetensors").unlink(), "/model.safetensors: this file of the trained model is missing"),
    "cut weights": (cut(-1), "/model.safetensors: not a readable safetensors file ("),
    "cut header": (cut(100), "/model.safetensors: not a readable safetensors file ("),
    "empty weights": (cut(0), "/model.safetensors: not a readable safetensors file ("),
    "other weights": (of_another_model, "has the shape ["),
    "a part is missing": (in_parts, "/model-00002-of-00002.safetensors: this file of the trained model is missing"),
    "no settings": (lambda at: (at / "config.json").unlink(), "/config.json: not a readable JSON file ("),
    "cut settings": (lambda at: (at / "config.json").write_text('{"a'), "/config.json: not a readable JSON file ("),
    "settings of nothing": (lambda at: (at / "config.json").write_text("{}"), "/config.json: names no model_type"),
    "another size": (change(num_hidden_layers=7), "/config.json: num_hidden_layers = 7, and "),
    "another model": (change(model_type="llama"), "/config.json: model_type = 'llama', and "),
    "a wrong type": (change(vocab_size="9"), '/config.json: vocab_size = "9": must be a whole number'),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "/tokenizer.json: this file of the trained model is missing"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A run without evaluation, and the arguments of its command."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        code, said = outcome(main, command(folder, tiny_folder))
    assert code == 0, said
    return folder


def command(folder: Path, model: Path) -> list[str]:
    corpus = folder / "pairs.tsv"
    if not corpus.exists():
        write_corpus(corpus)
    return arguments(corpus, model, folder / "run", *quick(model), "--stages", "data,model,sft,train")


CASES = [
    *((damage, "policy") for damage in DAMAGE),
    *(
        (damage, name)
        for name in ("policy_best", "warm_start")
        for damage in ("no weights", "cut weights", "no settings")
    ),
]


@pytest.mark.parametrize(("damage", "name"), CASES)
def test_damage_is_said_and_an_export_that_is_whole_is_not_touched(
    damage: str, name: str, whole: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(whole / "cache"))
    run = whole / "run"
    kept = shutil.copytree(run, whole / "kept", dirs_exist_ok=True)
    if name == "policy_best":
        shutil.copytree(run / "policy", run / name)
    make, said = DAMAGE[damage]
    make(run / name)
    try:
        code, sentence = outcome(main, command(whole, tiny_folder))
    finally:
        shutil.rmtree(run)
        shutil.copytree(kept, run)
    assert code == 2 and sentence.count("\n") == 1 and f"error: {run / name}" in sentence and said in sentence
    assert sentence.endswith(
        f"; copy {run / name} from where it is whole, or remove it and {run / 'eval'}, and the same command makes both again\n"
    )


def test_a_finished_run_is_left_as_it_is_and_a_removed_policy_is_trained_again_bit_equal(
    whole: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(whole / "cache"))
    weights = whole / "run" / "policy" / "model.safetensors"
    before, time = weights.read_bytes(), weights.stat().st_mtime_ns
    change(eos_token_id=7, dtype="float16", transformers_version="0")(weights.parent)  # what a user may set
    assert outcome(main, command(whole, tiny_folder))[0] == 0
    assert weights.stat().st_mtime_ns == time
    shutil.rmtree(weights.parent)
    assert outcome(main, command(whole, tiny_folder))[0] == 0
    assert weights.read_bytes() == before
